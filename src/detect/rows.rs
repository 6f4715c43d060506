//! The lookup tables of the content, and the answers to `event.lookup`, with which a rule asks for a row while a worker waits.
//! The tables are those of the batch, so that two rules are told the same.

use std::sync::{Arc, LazyLock};

use regex::Regex;
use serde_json::value::RawValue;
use time::OffsetDateTime;

use super::content::{Content, Problem};
use super::protocol::{Looked, MOST_LOOKUP_BYTES, Place};
use crate::lookup::{Absence, Asked, Fault, Loading, Tables};
use crate::runtime::blocking;
use crate::telemetry::Telemetry;

/// Names of tables in a message.
const MOST_NAMED: usize = 20;

/// The tables of one moment.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) tables: &'a Tables,
    pub(super) now: OffsetDateTime,
}

impl Rows<'_> {
    pub(super) fn look_up(self, table: &str, key: &str, telemetry: &Telemetry) -> Looked {
        let looked = self.looked(table, key);
        telemetry.lookup_called(match &looked {
            Looked::Row(_) => "found",
            Looked::Nothing => "nothing",
            Looked::Elsewhere(_) | Looked::NoTable(_) => "refused",
        });
        looked
    }

    fn looked(self, table: &str, key: &str) -> Looked {
        match self.tables.ask(table, key, self.now) {
            Asked::Row(text) if text.len() > MOST_LOOKUP_BYTES => {
                Looked::NoTable(format!("the row is longer than {MOST_LOOKUP_BYTES} bytes"))
            }
            Asked::Row(text) => Looked::Row(RawValue::from_string(text.into()).expect("a row is JSON text")),
            Asked::Nothing => Looked::Nothing,
            Asked::Absent(Absence::Elsewhere(place)) => Looked::Elsewhere(place),
            Asked::Absent(Absence::Broken(why)) => Looked::NoTable(format!("it can't be read: {why}")),
            Asked::Unknown(names) => Looked::NoTable(there_are(&names)),
        }
    }
}

/// Reads the tables of the content; one that can't be read is as it was in `former`.
pub(super) async fn tables_of(content: &Content, loading: Loading, former: &Arc<Tables>) -> (Tables, Vec<Fault>) {
    let definitions: Vec<_> = content.tables.iter().map(|table| table.definition.clone()).collect();
    let (elsewhere, former) = (content.tables_elsewhere.clone(), former.clone());
    blocking(move || {
        let (tables, faults) = Tables::load(&definitions, &loading, &former);
        (tables.with_rows_elsewhere(elsewhere), faults)
    })
    .await
}

/// The call, and the name of its table where that is written out.
static CALL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\.lookup\(\s*(?:'([^'\\\n]*)'|"([^"\\\n]*)")\s*,"#).expect("the expression is well formed")
});

/// Whether any rule or helper may ask a table.
pub(super) fn is_asked(content: &Content) -> bool {
    modules(content).any(|(_, source)| source.contains(".lookup("))
}

/// Tables that rules and helpers ask by name and that are not there.
pub(super) fn unknown(content: &Content, tables: &Tables) -> Vec<Problem> {
    let mut found = Vec::new();
    for (place, source) in modules(content).filter(|(_, source)| source.contains("event.lookup(")) {
        for call in CALL.captures_iter(source) {
            let name = call.get(1).or(call.get(2)).map_or("", |name| name.as_str());
            let Some(there_are) = not_there(tables, name) else { continue };
            let before = &source[..call.get(0).map_or(0, |all| all.start())];
            let line = before.matches('\n').count() as u64 + 1;
            let said = format!("`event.lookup` asks for the table `{name}`, but {there_are}; the rule fails there");
            found.push(content.problem_at(place, Some(line), said));
        }
    }
    found
}

/// Which tables there are, unless this one is there.
fn not_there(tables: &Tables, name: &str) -> Option<String> {
    match tables.ask(name, "", OffsetDateTime::UNIX_EPOCH) {
        Asked::Unknown(names) => Some(there_are(&names)),
        _ => None,
    }
}

fn there_are(names: &[&str]) -> String {
    match names {
        [] => "there are none".to_owned(),
        [name] => format!("there is only {name}"),
        names => {
            let more = if names.len() > MOST_NAMED { ", …" } else { "" };
            let first: Vec<&str> = names.iter().take(MOST_NAMED).copied().collect();
            format!("there are {}{more}", first.join(", "))
        }
    }
}

fn modules(content: &Content) -> impl Iterator<Item = (Place, &str)> {
    let helpers = (0..).zip(&content.globals).map(|(at, global)| (Place::Global(at), &*global.module.source));
    let rules = (0..).zip(&content.rules).map(|(at, rule)| (Place::Rule(at), &*rule.module.source));
    helpers.chain(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::content;
    use crate::logtype::Registry;
    use crate::lookup::Limits;

    const TABLE: &str = "AnalysisType: lookup_table\nLookupName: NAME\nEnabled: true\nSchema: Custom.People\n\
        LogTypeMap:\n  PrimaryKey: name\n  AssociatedLogTypes: [{LogType: T, Selectors: [name]}]\n";

    /// Tables of each kind, and a rule that asks for those and for one more.
    async fn loaded() -> (Content, Tables) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let table = |name: &str, data: &str| {
            write(&format!("{name}.yml"), &format!("{}{data}\n", TABLE.replace("NAME", name)));
        };
        table("people", "Filename: people.csv");
        table("broken", "Filename: broken.csv");
        table("far", "Refresh: {ObjectPath: s3://b/far.csv, PeriodMinutes: 5}");
        table("asked", "Query: SELECT 1\nRefresh: {PeriodMinutes: 5}");
        write("people.csv", "name,team\nann,red\n7,blue\n");
        write("broken.csv", "name\nann,red\n");
        let rule = "def rule(event):\n    for table in ():\n        event.lookup(table, 'x')\n    \
            event.lookup('people', event.get('name'))\n    return event.lookup(\"peple\", 'k') is None\n";
        write("r.py", rule);
        write("r.yml", "AnalysisType: rule\nRuleID: R\nEnabled: true\nFilename: r.py\nLogTypes: [T]\nSeverity: Low\n");
        let content = content::read(&[folder.path().into()]);
        assert!(content.problems.is_empty(), "{:?}", content.problems);
        let schema = folder.path().join("Custom.People.yml");
        std::fs::write(&schema, "version: 0\nfields: [{name: name, type: string}, {name: team, type: string}]\n")
            .unwrap();
        let log_types = Arc::new(Registry::default().with_files(&[schema]).unwrap());
        let limits = Limits { max_rows: 10, max_bytes: 1 << 20 };
        let loading = Loading { log_types, limits, now: OffsetDateTime::UNIX_EPOCH };
        let (tables, faults) = tables_of(&content, loading, &Arc::default()).await;
        assert_eq!(faults.len(), 1, "{faults:?}");
        (content, tables)
    }

    #[tokio::test]
    async fn a_table_says_what_it_has_or_why_it_has_nothing() {
        let (_, tables) = loaded().await;
        let telemetry = Telemetry::new();
        let rows = Rows { tables: &tables, now: OffsetDateTime::UNIX_EPOCH };
        let told = |table: &str, key: &str| match rows.look_up(table, key, &telemetry) {
            Looked::Row(text) => text.get().to_owned(),
            Looked::Nothing => "nothing".to_owned(),
            Looked::Elsewhere(place) => format!("in {place}"),
            Looked::NoTable(why) => why,
        };
        assert_eq!(told("people", "ann"), r#"{"name":"ann","team":"red"}"#);
        assert_eq!(told("people", "7"), r#"{"name":"7","team":"blue"}"#);
        assert_eq!(told("people", "bob"), "nothing");
        assert_eq!(told("far", "ann"), "in s3://b/far.csv");
        assert_eq!(told("asked", "ann"), "in a query");
        let broken = told("broken", "ann");
        assert!(broken.starts_with("it can't be read: ") && broken.contains("broken.csv:2: "), "{broken}");
        assert_eq!(told("peple", "ann"), "there are far, people");
        let counted =
            ["found", "nothing", "refused"].map(|outcome| telemetry.metrics.lookup_calls_total.get([outcome]));
        assert_eq!(counted, [2, 1, 4]);
    }

    #[tokio::test]
    async fn a_name_that_no_table_has_is_told_with_its_line() {
        let (content, tables) = loaded().await;
        assert!(is_asked(&content));
        let told: Vec<String> = unknown(&content, &tables).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("r.py:5: R: `event.lookup` asks for the table `peple`, but there are far, people"),
            "{told:?}"
        );
    }
}
