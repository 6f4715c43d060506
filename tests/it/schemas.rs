//! The commands for log types and schemas, from samples to a schema of one's own.

use std::fs;

use crate::daemon::Setup;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SAMPLES: &str = "{\"id\":\"a-1\",\"at\":\"2026-01-02T03:04:05Z\",\"bytes\":7,\"peer\":\"192.0.2.1\"}\n\
                       {\"id\":\"a-2\",\"at\":\"2026-01-02T03:04:06Z\",\"bytes\":9,\"peer\":\"192.0.2.2\",\"note\":\"late\"}\n";

#[test]
fn samples_become_a_schema_that_parses_them_and_is_tested_and_compared() {
    let setup = Setup::new();
    let folder = setup.path(".");
    fs::write(folder.join("samples.log"), SAMPLES).unwrap();
    fs::create_dir(folder.join("schemas")).unwrap();

    let inferred = setup.margay(&["schema", "infer", "samples.log", "--name", "Custom.Transfer"]);
    assert!(inferred.status.success(), "{}", text(&inferred.stderr));
    fs::write(folder.join("schemas/Custom.Transfer.yml"), &inferred.stdout).unwrap();

    let listed = text(&setup.margay(&["schema", "list", "--log-types", "schemas"]).stdout);
    assert!(listed.lines().any(|line| line.starts_with("Custom.Transfer ") && line.ends_with("(own)")), "{listed}");
    let shown = setup.margay(&["schema", "show", "custom.transfer", "--log-types", "schemas"]);
    assert_eq!(shown.stdout, inferred.stdout);

    // Not told what it is, and finds the schema among all others.
    let parsed = setup.margay(&["parse", "samples.log", "--log-types", "schemas"]);
    assert!(text(&parsed.stderr).contains("looks like Custom.Transfer"), "{}", text(&parsed.stderr));
    let events: Vec<serde_json::Value> =
        text(&parsed.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["p_event_time"], "2026-01-02 03:04:06.000000000");
    assert_eq!(events[1]["p_any_ip_addresses"], serde_json::json!(["192.0.2.2"]));

    let case = |bytes: u32| {
        format!(
            "name: one\nlogType: Custom.Transfer\ninput: '{{\"id\":\"x\",\"at\":\"2026-01-02T03:04:05Z\",\"bytes\":7,\"peer\":\"192.0.2.1\"}}'\n\
             result: '{{\"id\":\"x\",\"at\":\"2026-01-02 03:04:05.000000000\",\"bytes\":{bytes},\"peer\":\"192.0.2.1\",\
             \"p_log_type\":\"Custom.Transfer\",\"p_event_time\":\"2026-01-02 03:04:05.000000000\",\"p_any_ip_addresses\":[\"192.0.2.1\"]}}'\n"
        )
    };
    for (bytes, code) in [(7, 0), (8, 1)] {
        fs::write(folder.join("schemas/Custom.Transfer_tests.yml"), case(bytes)).unwrap();
        let tested = setup.margay(&["schema", "test", "schemas"]);
        assert_eq!(tested.status.code(), Some(code), "{}", text(&tested.stdout));
    }

    let wider = text(&inferred.stdout).replace("bytes\n  type: bigint", "bytes\n  type: string");
    fs::write(folder.join("next.yml"), wider).unwrap();
    let compared = setup.margay(&["schema", "diff", "Custom.Transfer", "next.yml", "--log-types", "schemas"]);
    assert_eq!(compared.status.code(), Some(1));
    assert!(text(&compared.stdout).contains("`bytes` changes its type from bigint to string"), "{compared:?}");
}

#[test]
fn what_can_not_be_parsed_is_told_and_the_rest_is_printed() {
    let setup = Setup::new();
    fs::write(setup.path("mixed.log"), format!("{SAMPLES}garbage\n")).unwrap();
    let unknown = setup.margay(&["parse", "mixed.log", "--log-type", "Okta.SystemLg"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(text(&unknown.stderr).contains("did you mean `Okta.SystemLog`?"));

    let schema = "version: 0\nfields:\n- {name: id, type: string, required: true}\n";
    fs::write(setup.path("Custom.Id.yml"), schema).unwrap();
    let parsed = setup.margay(&["parse", "mixed.log", "--schema", "Custom.Id.yml", "--known-fields-only"]);
    assert_eq!(parsed.status.code(), Some(1));
    assert_eq!(text(&parsed.stdout).lines().count(), 2);
    assert!(!text(&parsed.stdout).contains("peer"));
    assert!(text(&parsed.stderr).contains("mixed.log: record 3: no log type matches: Custom.Id"), "{parsed:?}");
}
