//! The views, and the files that conditions on the parts of a time leave to be opened.

use time::macros::datetime;

use super::tests::Lake;
use crate::lake::families::{RULE_ERRORS, RULE_MATCHES, SIGNALS};

const TRAIL: &str = "Test.Trail";

fn found(rule: &str) -> Vec<String> {
    vec![format!(
        r#"{{"eventName":"Event1","p_event_time":"2026-01-09 10:00:01.000000000","p_parse_time":"2026-01-09 12:00:00.000000000",
        "p_rule_id":"{rule}","p_alert_id":"a","p_alert_context":{{"ip":"10.0.0.9"}},"p_rule_tags":["t"]}}"#
    )]
}

/// Two days of events, a match and its signal, and an error.
async fn filled() -> Lake {
    let read = datetime!(2026-01-09 12:00 UTC);
    let signal = r#"{"p_log_type":"Test.Trail","p_event_time":"2026-01-09 10:00:01.000000000",
        "p_parse_time":"2026-01-09 12:00:00.000000000","p_rule_id":"r","event":{"eventName":"Event1"}}"#;
    let lake = Lake::filled().await.with(&RULE_MATCHES.table(TRAIL), 4, read, &found("r")).await;
    let lake = lake.with(&RULE_ERRORS.table(TRAIL), 5, read, &found("e")).await;
    lake.with(&SIGNALS.table(TRAIL), 6, read, &[signal.to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_unions_with_the_columns_that_are_shared() {
    let lake = filled().await;
    for (sql, expected) in [
        (
            "SELECT p_db_name, count(*) FROM panther_views.all_databases GROUP BY 1 ORDER BY 1",
            "margay_logs,13\nmargay_rule_errors,1\nmargay_rule_matches,1\nmargay_signals,1",
        ),
        ("SELECT p_rule_id, p_table_name FROM all_rule_matches", "r,test_trail"),
        ("SELECT p_rule_id FROM panther_views.public.all_rule_errors", "e"),
        ("SELECT p_rule_id, p_log_type FROM all_signals", "r,Test.Trail"),
        ("SELECT count(*) FROM all_cloudsecurity WHERE p_event IS NULL", "0"),
        ("SELECT count(*) FROM all_databases WHERE p_alert_context:ip::string = '10.0.0.9'", "1"),
        ("SELECT p_alert_context:ip::string FROM all_rule_matches", "10.0.0.9"),
        // A member without the column has nothing in it.
        ("SELECT count(*) FROM all_databases WHERE p_rule_id IS NULL", "13"),
        ("SELECT p_event FROM all_logs WHERE p_log_type = 'Test.Other'", r#""{""x"":5}""#),
        ("SELECT P_EVENT:eventName FROM all_databases WHERE p_db_name <> 'margay_logs' GROUP BY 1", "Event1"),
        ("SELECT v.p_event:userIdentity.arn FROM all_logs v WHERE v.p_event:count::int = 3 GROUP BY 1", "arn:3"),
        ("SELECT day, hour FROM all_rule_matches", "9,10"),
        ("SELECT count(*) FROM panther_rule_matches.test_trail WHERE p_occurs_on('2026-01-09')", "1"),
    ] {
        assert_eq!(lake.rows(sql).await, expected, "{sql}");
    }
    let answer = lake.run("SELECT * FROM all_databases LIMIT 1").await.unwrap();
    let names: Vec<&str> = answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert!(["p_event_time", "p_rule_id", "p_db_name", "partition_time"].iter().all(|name| names.contains(name)));
    assert!(!names.contains(&"eventName") && !names.contains(&"p_event"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_without_tables_has_no_rows() {
    let lake = Lake::new().await;
    assert_eq!(lake.rows("SELECT count(*), max(p_event) FROM all_databases WHERE year = 2026").await, "0,");
}

/// A row at a moment is found by the moment, by the parts of it and by its hour, and nothing else is opened for it.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_time_skip_files() {
    let lake = filled().await;
    let hour = datetime!(2026-01-09 10:00 UTC).unix_timestamp();
    let files = |plan: &str| plan.matches(".parquet").count();
    for (condition, rows, opened) in [
        ("year = 2026", "12", 2),
        ("year = 2025", "0", 0),
        ("year = 2026 AND month = 2", "0", 0),
        ("year = 2026 AND month = 1 AND day = 9", "6", 1),
        ("year = 2026 AND month = 1 AND day IN (8, 9)", "12", 2),
        ("year = 2026 AND month = 1 AND day BETWEEN 9 AND 10 AND count >= 0", "6", 1),
        ("year = 2026 AND month = 1 AND day = 9 AND hour = 10", "6", 1),
        ("year = 2026 AND month = 1 AND day = 9 AND hour < 10", "0", 0),
        // Of all years: nothing is known.
        ("month = 1 AND day = 9", "6", 2),
        ("p_occurs_since('1 day') AND day = 10", "0", 0),
        ("p_occurs_between('2026-01-09 10:00:01', '2026-01-09 10:00:01')", "1", 1),
        (&*format!("partition_time = {hour}"), "6", 1),
        (&*format!("partition_time >= {hour} AND partition_time < {}", hour + 3600), "6", 1),
        (&*format!("partition_time BETWEEN {} AND {}", hour + 3600, hour + 7200), "0", 0),
    ] {
        let query = format!("SELECT count(*) FROM test_trail WHERE {condition}");
        assert_eq!(lake.rows(&query).await, rows, "{condition}");
        let plan = lake.plan(&format!("SELECT eventName FROM test_trail WHERE {condition}")).await;
        assert_eq!(files(&plan), opened, "{condition}: {plan}");
    }
    for (condition, opened) in [
        ("year = 2026 AND month = 1 AND day = 8", 1),
        ("year = 2026 AND month = 1 AND day = 9", 5),
        ("p_occurs_on('2026-01-09')", 5),
        ("p_occurs_since('1 day')", 0),
        ("partition_time = 0", 0),
        ("p_db_name = 'margay_signals'", 1),
        ("p_log_type = 'Test.Other' AND p_occurs_on('2026-01-09')", 1),
    ] {
        let plan = lake.plan(&format!("SELECT p_db_name, p_row_id FROM all_databases WHERE {condition}")).await;
        assert_eq!(files(&plan), opened, "{condition}: {plan}");
    }
}
