//! Tables over files of a folder, and what events are given by them.

use std::fs;
use std::slice::from_ref;

use time::macros::datetime;

use super::super::Limits;
use super::*;
use crate::logtype::Registry;
use crate::model::{Position, RowId};

const NOW: OffsetDateTime = datetime!(2024-03-01 12:00 UTC);

struct World {
    folder: tempfile::TempDir,
    loading: Loading,
}

impl World {
    /// With a log type `Custom.Nets`, whose rows are networks, and one `Custom.Users`.
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let schema = |name: &str, fields: &str| {
            let path = folder.path().join(format!("{name}.yml"));
            fs::write(&path, format!("version: 0\nfields: [{fields}]\n")).unwrap();
            path
        };
        let nets = "{name: net, type: string, indicators: [ip], validate: {cidr: any}}, {name: zone, type: string}";
        let files = [
            schema("Custom.Nets", nets),
            schema("Custom.Users", "{name: name, type: string}, {name: team, type: string}"),
        ];
        let log_types = Arc::new(Registry::default().with_files(&files).unwrap());
        World {
            loading: Loading { log_types, limits: Limits { max_rows: 5000, max_bytes: 1 << 24 }, now: NOW },
            folder,
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn table(&self, name: &str, schema: &str, key: &str, selectors: &[(&str, &[&str])]) -> Arc<Definition> {
        let selectors = selectors.iter().map(|(log_type, selectors)| {
            (log_type.to_string(), selectors.iter().map(|text| Selector::parse(text).unwrap()).collect())
        });
        Arc::new(Definition {
            origin: self.folder.path().join("table.yml"),
            name: name.into(),
            schema: schema.into(),
            primary_key: key.into(),
            selectors: selectors.collect(),
            data: Data::File(self.folder.path().join(format!("{name}.csv"))),
        })
    }

    fn load(&self, definitions: &[Arc<Definition>], former: &Tables) -> (Tables, Vec<String>) {
        let (tables, faults) = Tables::load(definitions, &self.loading, former);
        let told = |fault: Fault| {
            let file = fault.file.file_name().unwrap().to_str().unwrap().to_owned();
            format!("{file}:{}: {}: {}", fault.line.unwrap_or(0), fault.table, fault.message)
        };
        (tables, faults.into_iter().map(told).collect())
    }
}

fn event(log_type: &str, fields: &str) -> Event {
    Event {
        log_type: log_type.into(),
        row_id: RowId([0; 16]),
        position: Position { ordinal: 0, index: 0 },
        time: NOW,
        fields: serde_json::from_str(fields).unwrap(),
    }
}

fn enriched(tables: &Tables, log_type: &str, fields: &str) -> String {
    let event = event(log_type, fields);
    let map = tables.enriched(&event, NOW, &mut Found::default());
    let Some(map) = map else { return "as it is".into() };
    serde_json::to_string(map.get(ENRICHMENT).unwrap()).unwrap()
}

#[test]
fn an_event_has_the_rows_by_table_and_selector() {
    let world = World::new();
    world.write("nets.csv", "net,zone\n10.0.0.0/8,lan\n10.1.0.0/16,dmz\n");
    world.write("users.csv", "name,team\nann,red\n");
    let definitions = [
        world.table("users", "Custom.Users", "name", &[("X.Y", &["$.actor.name", "names"]), ("X.Z", &["name"])]),
        world.table("nets", "Custom.Nets", "net", &[("X.Y", &["ip", "p_any_ip_addresses", "$.ip"])]),
    ];
    let (tables, faults) = world.load(&definitions, &Tables::default());
    assert_eq!(faults, [] as [&str; 0]);
    let event = r#"{"ip":"10.1.2.3","actor":{"name":"ann"},"p_any_ip_addresses":["10.1.2.3","10.2.2.3","8.8.8.8"]}"#;
    let (dmz, lan) = (
        r#"{"net":"10.1.0.0/16","zone":"dmz","p_match":"10.1.2.3"}"#,
        r#"{"net":"10.0.0.0/8","zone":"lan","p_match":"10.2.2.3"}"#,
    );
    assert_eq!(
        enriched(&tables, "X.Y", event),
        format!(
            r#"{{"nets":{{"ip":{dmz},"p_any_ip_addresses":[{dmz},{lan}]}},"users":{{"actor.name":{{"name":"ann","team":"red","p_match":"ann"}}}}}}"#
        )
    );
    assert_eq!(enriched(&tables, "X.Z", r#"{"name":"bob"}"#), "as it is");
    assert_eq!(enriched(&tables, "X.W", event), "as it is");
    // One element of a list is a list of one, and the same value twice is one.
    assert_eq!(
        enriched(&tables, "X.Y", r#"{"names":["ann","ann"]}"#),
        r#"{"users":{"names":[{"name":"ann","team":"red","p_match":"ann"}]}}"#
    );
}

#[test]
fn the_stored_event_stays_as_it_is() {
    let world = World::new();
    world.write("users.csv", "name,team\nann,red\n");
    let (tables, _) =
        world.load(&[world.table("users", "Custom.Users", "name", &[("X.Y", &["n"])])], &Tables::default());
    let event = event("X.Y", r#"{"n":"ann","p_log_type":"X.Y"}"#);
    let mut found = Found::default();
    let seen = tables.enriched(&event, NOW, &mut found).unwrap();
    assert_eq!(serde_json::to_string(&event.fields).unwrap(), r#"{"n":"ann","p_log_type":"X.Y"}"#);
    assert_eq!(seen.len(), 3);
    assert_eq!(found, Found { rows: [("users".into(), 1)].into(), cut: 0 });
}

#[test]
fn a_table_of_an_indicator_without_log_types_is_about_all_events() {
    let world = World::new();
    world.write("nets.csv", "net,zone\n10.0.0.0/8,lan\n");
    world.write("users.csv", "name,team\nann,red\n");
    let definitions = [
        world.table("nets", "Custom.Nets", "net", &[]),
        world.table("users", "Custom.Users", "name", &[("X.Y", &["n"])]),
    ];
    let (tables, _) = world.load(&definitions, &Tables::default());
    let lan = r#"{"net":"10.0.0.0/8","zone":"lan","p_match":"10.0.0.1"}"#;
    assert_eq!(
        enriched(&tables, "Any.Type", r#"{"p_any_ip_addresses":["10.0.0.1"]}"#),
        format!(r#"{{"nets":{{"p_any_ip_addresses":[{lan}]}}}}"#)
    );
    let both = enriched(&tables, "X.Y", r#"{"n":"ann","p_any_ip_addresses":["10.0.0.1"]}"#);
    assert!(both.contains(r#""nets""#) && both.contains(r#""users""#), "{both}");
    let nowhere = world.load(&[world.table("users", "Custom.Users", "name", &[])], &Tables::default()).1;
    assert!(nowhere[0].contains("no event is looked up"), "{nowhere:?}");
}

#[test]
fn a_table_that_cannot_be_read_keeps_its_former_version() {
    let world = World::new();
    let users = world.table("users", "Custom.Users", "name", &[("X.Y", &["n"])]);
    world.write("users.csv", "name,team\nann,red\n");
    let (first, _) = world.load(from_ref(&users), &Tables::default());
    let kept = first.get("users").unwrap().clone();
    // As it was: the very same table.
    let (second, _) = world.load(from_ref(&users), &first);
    assert!(Arc::ptr_eq(&kept, second.get("users").unwrap()));

    world.write("users.csv", "name,team\nann,blue\nbob\n");
    let (third, faults) = world.load(from_ref(&users), &second);
    assert!(Arc::ptr_eq(&kept, third.get("users").unwrap()));
    assert!(faults[0].starts_with("users.csv:3: users: the record has 1 values"), "{faults:?}");
    assert!(faults[0].ends_with("; its last good version goes on"), "{faults:?}");

    let renamed = world.table("users", "Custom.Usres", "name", &[("X.Y", &["n"])]);
    let (fourth, faults) = world.load(from_ref(&renamed), &third);
    assert!(fourth.get("users").is_some());
    assert!(faults[0].contains("did you mean `Custom.Users`?"), "{faults:?}");

    world.write("users.csv", "name,team\nann,blue\n");
    let (fifth, faults) = world.load(from_ref(&users), &fourth);
    assert_eq!(faults, [] as [&str; 0]);
    assert!(enriched(&fifth, "X.Y", r#"{"n":"ann"}"#).contains("blue"));
    // What is taken out is gone, and what was never there is no table.
    assert!(world.load(&[], &fifth).0.is_empty());
    assert!(world.load(&[renamed], &Tables::default()).0.is_empty());
}

#[test]
fn what_an_event_is_given_is_bounded_and_told() {
    let world = World::new();
    let rows: String = (0..MOST_ROWS + 5).map(|at| format!("u{at},x\n")).collect();
    world.write("users.csv", &format!("name,team\n{rows}long,{}\n", "y".repeat(MOST_BYTES)));
    let (tables, _) =
        world.load(&[world.table("users", "Custom.Users", "name", &[("X.Y", &["n"])])], &Tables::default());
    let names: Vec<String> = (0..MOST_ROWS + 5).map(|at| format!("u{at}")).collect();
    let event = event("X.Y", &serde_json::json!({ "n": names }).to_string());
    let mut found = Found::default();
    tables.enriched(&event, NOW, &mut found).unwrap();
    assert_eq!(found, Found { rows: [("users".into(), MOST_ROWS as u64)].into(), cut: 1 });
    let mut found = Found::default();
    let long = super::tests::event("X.Y", r#"{"n":"long"}"#);
    assert!(tables.enriched(&long, NOW, &mut found).is_none());
    assert_eq!(found.cut, 1);
}
