//! Lookup tables under a running daemon: what rules see follows the table, and what is stored does not.

use std::fs;
use std::process::Command;

use crate::aws::{Aws, Channel};
use crate::daemon::{Daemon, MARGAY, Setup};
use crate::events::{login, logins_of};

/// Tells who the table says somebody is; the guard sees it, too.
const TEAM: &str = "def rule(event):\n    return event.deep_get('p_enrichment', 'people', 'actor.alternateId', 'team') is not None\n\
                    def title(event):\n    row = event['p_enrichment']['people']['actor.alternateId']\n    \
                    return f\"{row['p_match']} of {row['team']}\"\n";

const TABLE: &str = "AnalysisType: lookup_table\nLookupName: people\nEnabled: true\nSchema: Custom.People\nLogTypeMap:\n  \
                     PrimaryKey: mail\n  AssociatedLogTypes:\n    - {LogType: Okta.SystemLog, Selectors: [$.actor.alternateId]}\n";

fn setup(data: &str) -> Setup {
    with_table(Setup::new().watching_directory(), data)
}

fn with_table(setup: Setup, data: &str) -> Setup {
    let setup = setup.configured("[log_types]\ndirectories = [\"types\"]\n");
    fs::create_dir(setup.path("types")).unwrap();
    let schema = "version: 0\nfields: [{name: mail, type: string}, {name: team, type: string}]\n";
    fs::write(setup.path("types/Custom.People.yml"), schema).unwrap();
    fs::write(setup.path("rules/people.yml"), format!("{TABLE}{data}")).unwrap();
    setup.rule("Team", TEAM)
}

fn put(setup: &Setup, name: &str, rows: &str) {
    let partial = setup.path("incoming");
    fs::write(&partial, rows).unwrap();
    fs::rename(partial, setup.path(name)).unwrap();
}

fn committed(daemon: &Daemon<'_>) -> f64 {
    daemon.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#)
}

fn metric(daemon: &Daemon<'_>, name: &str) -> f64 {
    daemon.metrics().get(&format!("{name}{{table=\"people\"}}"))
}

fn loads(daemon: &Daemon<'_>) -> f64 {
    daemon.metrics().get(r#"margay_rule_sets_loaded_total{outcome="loaded"}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_is_what_the_next_object_sees() {
    let setup = setup("Filename: people.csv\n");
    put(&setup, "rules/people.csv", "mail,team\nana@example.com,red\n");
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 source, 1 rule, 1 lookup table: no problem\n");
    let daemon = setup.start().await;
    daemon.until(|d| metric(d, "margay_lookup_table_rows") == 1.0).await;
    setup.file("a.jsonl", logins_of("ana@example.com", 1));
    setup.file("b.jsonl", logins_of("bea@example.com", 1));
    daemon.until(|d| committed(d) == 2.0).await;
    assert_eq!(setup.counts(), [("ana@example.com of red".to_owned(), 1)].into());

    put(&setup, "rules/people.csv", "mail,team\nana@example.com,blue\nbea@example.com,blue\n");
    daemon.until(|d| metric(d, "margay_lookup_table_rows") == 2.0).await;
    setup.file("c.jsonl", logins_of("ana@example.com", 1) + &logins_of("bea@example.com", 1));
    daemon.until(|d| committed(d) == 3.0).await;
    let counts = setup.counts();
    assert_eq!(counts["ana@example.com of blue"], 1);
    assert_eq!(counts["bea@example.com of blue"], 1);

    // One that can't be read is told, and the rows stay.
    let before = loads(&daemon);
    put(&setup, "rules/people.csv", "mail,team\nana@example.com\n");
    daemon.until(|d| loads(d) > before).await;
    assert_eq!(daemon.metrics().get("margay_rules_failed"), 1.0);
    setup.file("d.jsonl", logins_of("ana@example.com", 1));
    daemon.until(|d| committed(d) == 4.0).await;
    assert_eq!(setup.counts()["ana@example.com of blue"], 2);
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("rules/people.csv:2: people: the record has 1 values"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_bucket_is_there_before_the_first_event() {
    let setup = setup("Refresh: {ObjectPath: s3://local/tables/people.csv, PeriodMinutes: 1}\n");
    setup.file("tables/people.csv", "mail,team\nana@example.com,red\n");
    setup.file("a.jsonl", logins_of("ana@example.com", 1));
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_rule_matches_total{rule="Team"}"#) == 1.0).await;
    assert_eq!(setup.counts(), [("ana@example.com of red".to_owned(), 1)].into());
    assert_eq!(metric(&daemon, "margay_lookup_table_overdue"), 0.0);
    let refreshes = daemon.metrics().get(r#"margay_lookup_refreshes_total{outcome="changed",table="people"}"#);
    assert_eq!(refreshes, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_s3_is_read_as_its_role_and_one_that_is_missing_is_told() {
    let aws = Aws::start().await;
    let logs = aws.bucket_announced_by(Channel::Sqs).await;
    logs.put_gz("tables/people.csv.gz", "mail,team\nana@example.com,red\n").await;
    let data = format!(
        "Refresh: {{ObjectPath: 's3://{}/tables/people.csv.gz', PeriodMinutes: 60, RoleARN: '{}'}}\n",
        logs.bucket, logs.role_arn
    );
    let setup = with_table(Setup::new().reading_sqs(&aws, &logs), &data);
    let missing = TABLE.replace("people", "missing");
    let data = format!("Refresh: {{ObjectPath: 's3://{}/tables/none.csv', PeriodMinutes: 60}}\n", logs.bucket);
    fs::write(setup.path("rules/missing.yml"), format!("{missing}{data}")).unwrap();
    let daemon = setup.start().await;
    logs.put_gz("okta/a.json.gz", logins_of("ana@example.com", 2)).await;
    daemon.until(|d| d.metrics().get(r#"margay_rule_matches_total{rule="Team"}"#) == 2.0).await;
    assert_eq!(setup.counts(), [("ana@example.com of red".to_owned(), 2)].into());
    let metrics = daemon.metrics();
    assert_eq!(metrics.get(r#"margay_lookup_refreshes_total{outcome="failed",table="missing"}"#), 1.0);
    assert_eq!(metrics.get(r#"margay_lookup_table_rows{table="missing"}"#), 0.0);
    assert_eq!(metric(&daemon, "margay_lookup_rows_found_total"), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_log_type_changes_is_read_anew_and_stored_events_do_not_have_it() {
    let setup = setup("Filename: people.csv\n").configured("[lake]\ntype = \"local\"\nflush_seconds = 1\n");
    put(&setup, "rules/people.csv", "mail,team,rank\nana@example.com,red,7\n");
    setup.write_rule(
        "Rank",
        "def rule(event):\n    return event.deep_get('p_enrichment', 'people', 'actor.alternateId', 'rank') == 7\n\
                              def title(event):\n    return 'ranked'\n",
    );
    let daemon = setup.start().await;
    setup.file("a.jsonl", logins_of("ana@example.com", 1));
    daemon.until(|d| committed(d) == 1.0).await;
    let schema =
        "version: 0\nfields: [{name: mail, type: string}, {name: team, type: string}, {name: rank, type: int}]\n";
    let before = daemon.metrics().get(r#"margay_config_loads_total{outcome="loaded"}"#);
    put(&setup, "types/Custom.People.yml", schema);
    daemon.until(|d| d.metrics().get(r#"margay_config_loads_total{outcome="loaded"}"#) > before).await;
    setup.file("b.jsonl", logins_of("ana@example.com", 1));
    daemon.until(|d| committed(d) == 2.0).await;
    assert_eq!(setup.counts()["ranked"], 1);
    let sql = "SELECT count(*) AS n FROM okta_systemlog WHERE p_extra LIKE '%p_enrichment%' OR p_extra LIKE '%ranked%'";
    let output = setup.margay(&["search", "--config", "margay.toml", "--format", "json", sql]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("\"n\":0") || text.contains("\"n\": 0"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Asks by itself; what it is told stands in the title.
const ASK: &str = "def rule(event):\n    return True\n\
                   def title(event):\n    row = event.lookup('people', event.deep_get('actor', 'alternateId'))\n    \
                   return 'nobody' if row is None else f\"{row['mail']} of {row['team']}\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_asks_a_table_is_told_the_same_in_production_tests_and_backtests() {
    let setup = with_table(Setup::new().watching_directory(), "Filename: people.csv\n");
    put(&setup, "rules/people.csv", "mail,team\nana@example.com,red\n");
    setup.write_rule("Team", ASK);
    let case = |name: &str, mail: &str, more: &str| {
        format!(
            "  - Name: {name}\n    ExpectedResult: true\n    Log: {{p_log_type: Okta.SystemLog, actor: {{alternateId: {mail}}}{more}}}\n"
        )
    };
    let mocked = ", _mocked_lookup_data_: {people: {zoe: {mail: zoe, team: mocked}}}";
    let yaml = fs::read_to_string(setup.path("rules/Team.yml")).unwrap();
    let cases = [case("read", "ana@example.com", ""), case("none", "bea", ""), case("mocked", "zoe", mocked)].concat();
    fs::write(setup.path("rules/Team.yml"), format!("{yaml}Tests:\n{cases}")).unwrap();
    let tested = setup.margay(&["test", "rules", "--log-types", "types"]);
    let said = String::from_utf8_lossy(&tested.stdout).into_owned();
    for title in ["ana@example.com of red", "nobody", "zoe of mocked"] {
        assert!(said.contains(&format!("[PASS] [title] {title}")), "{said}");
    }

    let logs = [logins_of("ana@example.com", 2), logins_of("bea@example.com", 1)].concat();
    fs::create_dir(setup.path("raw")).unwrap();
    fs::write(setup.path("raw/a.jsonl"), &logs).unwrap();
    let output = setup.margay(&["backtest", "--config", "margay.toml", "--input", "raw", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["matches"], 3, "{report}");
    assert_eq!(report["alerts"], 2, "{report}");

    let daemon = setup.start().await;
    setup.file("a.jsonl", logs);
    daemon.until(|d| committed(d) == 1.0).await;
    let expected = [("ana@example.com of red".to_owned(), 2), ("nobody".to_owned(), 1)];
    assert_eq!(setup.counts(), expected.into());
    let calls = |daemon: &Daemon<'_>, outcome: &str| {
        daemon.metrics().get(&format!("margay_lookup_calls_total{{outcome=\"{outcome}\"}}"))
    };
    assert_eq!((calls(&daemon, "found"), calls(&daemon, "nothing")), (1.0, 1.0), "each key once in a batch");
    assert!(daemon.metrics().get(r#"margay_rule_wait_seconds_total{rule="Team"}"#) > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_is_an_error_of_the_rule_that_asks_for_it() {
    let setup = with_table(Setup::new().watching_directory(), "Filename: people.csv\n");
    put(&setup, "rules/people.csv", "mail,team\n");
    setup.write_rule(
        "Team",
        &ASK.replace(
            "def rule(event):\n    return True",
            "def rule(event):\n    return event.lookup('peple', 'k') is None",
        ),
    );
    let checked = setup.margay(&["check", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    assert!(
        said.contains("Team.py:2: Team: `event.lookup` asks for the table `peple`, but there is only people"),
        "{said}"
    );
    let daemon = setup.start().await;
    setup.file("a.jsonl", login());
    daemon.until(|d| committed(d) == 1.0).await;
    assert_eq!(daemon.metrics().get(r#"margay_rule_errors_total{rule="Team"}"#), 1.0);
    let alerts = setup.counts();
    assert!(alerts.keys().any(|title| title.contains("no lookup table 'peple': there is only people")), "{alerts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maxmind_database_tells_of_addresses() {
    let setup = Setup::new().watching_directory();
    let database = include_bytes!("../corpus/lookup/networks.mmdb");
    fs::write(setup.path("rules/networks.mmdb"), database).unwrap();
    let table = "AnalysisType: lookup_table\nLookupName: networks\nEnabled: true\nFilename: networks.mmdb\nLogTypeMap:\n  \
                 PrimaryKey: network\n  AssociatedLogTypes:\n    - {LogType: Okta.SystemLog, Selectors: [client.ipAddress]}\n";
    fs::write(setup.path("rules/networks.yml"), table).unwrap();
    let rule = "def rule(event):\n    \
                return event.deep_get('p_enrichment', 'networks', 'client.ipAddress', 'asn') == 64502\n\
                def title(event):\n    row = event.lookup('networks', '1.2.3.4')\n    \
                return f\"{event['p_enrichment']['networks']['client.ipAddress']['network']} {row['geo']['lat']} {row['tags'][1]}\"\n";
    setup.write_rule("Asn", rule);
    let output = setup.margay(&["check", "--config", "margay.toml"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 source, 1 rule, 1 lookup table: no problem\n");
    let daemon = setup.start().await;
    setup.file("a.jsonl", login());
    daemon.until(|d| committed(d) == 1.0).await;
    assert_eq!(setup.counts(), [("198.51.100.0/25 -1.5 b".to_owned(), 1)].into());
}

#[test]
fn the_shipped_table_finds_the_narrowest_network() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    let find = ["192.0.2.10", "192.0.2.130", "192.0.2.200", "2001:db8:51::1", "198.51.100.1"];
    let values = find.iter().flat_map(|value| ["--find", value]);
    let output = Command::new(MARGAY).args(["test-lookup-table", rules]).args(values).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines[0], "known_networks: 5 rows by `cidr`, for AWS.CloudTrail, Okta.SystemLog");
    for (line, name) in lines[1..].iter().zip([
        "office",
        "guest Wi-Fi of the office",
        "printer of the reception",
        "guest Wi-Fi of the office",
    ]) {
        assert!(line.contains(&format!(r#""name":"{name}""#)), "{line}");
    }
    assert_eq!(lines[5], "nothing for 198.51.100.1");
}
