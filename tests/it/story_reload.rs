//! Sources and log types change under a running daemon: at once, as a whole, or not at all.

use std::fs;

use crate::daemon::{Daemon, Setup};
use crate::events::login;

const EVERY: &str = "def rule(event):\n    return True\ndef title(event):\n    return 'seen'\n";

const DIRECTORY: &str = "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n";

/// A source of the keys below `name/`.
fn source(name: &str, log_type: &str) -> String {
    format!(
        "[[sources]]\nname = \"{name}\"\nbucket = \"local\"\n\
         prefixes = [{{ prefix = \"{name}/\", log_types = [\"{log_type}\"] }}]\n"
    )
}

fn objects(daemon: &Daemon<'_>, source: &str, state: &str) -> f64 {
    daemon.metrics().get(&format!("margay_objects_total{{source=\"{source}\",state=\"{state}\"}}"))
}

fn loads(daemon: &Daemon<'_>, outcome: &str) -> f64 {
    daemon.metrics().get(&format!("margay_config_loads_total{{outcome=\"{outcome}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_added_reads_the_next_object_of_its_bucket() {
    let setup = Setup::new().rule("Every", EVERY).configured(DIRECTORY);
    let daemon = setup.start().await;
    daemon.until(|d| loads(d, "loaded") == 1.0).await;
    setup.file("okta/a.jsonl", login());
    daemon.until(|d| objects(d, "", "unrouted") == 1.0).await;

    let former = setup.reconfigure(&(setup.config() + &source("okta", "Okta.SystemLog")));
    daemon.until(|d| loads(d, "loaded") == 2.0).await;
    setup.file("okta/b.jsonl", login());
    daemon.until(|d| objects(d, "okta", "committed") == 1.0).await;
    assert_eq!(setup.counts()["seen"], 1);

    // And one that is taken out reads no more.
    setup.reconfigure(&former);
    daemon.until(|d| loads(d, "loaded") == 3.0).await;
    setup.file("okta/c.jsonl", login());
    daemon.until(|d| objects(d, "", "unrouted") == 2.0).await;
    assert_eq!(setup.counts()["seen"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_is_refused_whole_and_the_former_one_works_on() {
    let good = Setup::new().rule("Every", EVERY).configured(DIRECTORY).configured(&source("okta", "Okta.SystemLog"));
    let daemon = good.start().await;
    daemon.until(|d| loads(d, "loaded") == 1.0).await;
    // One source is taken out, another names a log type that does not exist.
    let bad = good.config().replace("okta", "other").replace("Okta.SystemLog", "No.Such");
    let text = good.reconfigure(&bad);
    daemon.until(|d| loads(d, "refused") == 1.0).await;
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 200"));
    good.file("okta/a.jsonl", login());
    daemon.until(|d| objects(d, "okta", "committed") == 1.0).await;

    good.reconfigure("this is not TOML");
    daemon.until(|d| loads(d, "refused") == 2.0).await;
    good.reconfigure(&text);
    daemon.until(|d| loads(d, "loaded") == 2.0).await;
    good.file("okta/b.jsonl", login());
    daemon.until(|d| objects(d, "okta", "committed") == 2.0).await;
    assert_eq!(loads(&daemon, "refused"), 2.0, "what is wrong is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_type_that_changes_is_used_for_the_next_object() {
    let setup = Setup::new().configured(DIRECTORY).configured(&source("app", "Custom.App"));
    let setup = setup.configured("[log_types]\ndirectories = [\"types\"]\n").rule("Every", EVERY);
    fs::create_dir(setup.path("types")).unwrap();
    let log_type = |name_is_required: bool| {
        let title_is_required = !name_is_required;
        let yaml = format!(
            "version: 0\nfields:\n- {{name: name, type: string, required: {name_is_required}}}\n\
             - {{name: title, type: string, required: {title_is_required}}}\n"
        );
        fs::write(setup.path("types/Custom.App.yml"), yaml).unwrap();
    };
    log_type(true);
    let daemon = setup.start().await;
    daemon.until(|d| loads(d, "loaded") == 1.0).await;
    setup.file("app/a.jsonl", "{\"title\":\"x\"}\n");
    let failures = |d: &Daemon<'_>| d.metrics().get(r#"margay_classification_failures_total{source="app"}"#);
    daemon.until(|d| failures(d) == 1.0).await;

    log_type(false);
    daemon.until(|d| loads(d, "loaded") == 2.0).await;
    setup.file("app/b.jsonl", "{\"title\":\"y\"}\n");
    daemon.until(|d| objects(d, "app", "committed") == 2.0).await;
    assert_eq!(daemon.metrics().get(r#"margay_events_total{log_type="Custom.App",source="app"}"#), 1.0);
    assert_eq!(failures(&daemon), 1.0);

    fs::write(setup.path("types/Custom.App.yml"), "version: 0\nfields: [{name: a, type: nope}]\n").unwrap();
    daemon.until(|d| loads(d, "refused") == 1.0).await;
    setup.file("app/c.jsonl", "{\"title\":\"z\"}\n");
    daemon.until(|d| objects(d, "app", "committed") == 3.0).await;
    assert_eq!(failures(&daemon), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_loads_the_configuration_anew() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    let daemon = setup.start().await;
    daemon.until(|d| loads(d, "loaded") == 1.0).await;
    daemon.signal("HUP");
    daemon.until(|d| loads(d, "loaded") == 2.0).await;
    assert!(daemon.metrics().get("margay_config_last_load_timestamp_seconds") > 1e9);
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_breaks_with_stored_events_is_refused_and_a_wider_one_waits_to_be_allowed() {
    const RULE: &str =
        "def rule(event):\n    return True\ndef title(event):\n    return f\"v{event['p_schema_version']}\"\n";
    let setup = Setup::new().configured(DIRECTORY).configured(&source("app", "Custom.App"));
    let setup = setup.configured("[log_types]\ndirectories = [\"types\"]\n");
    setup.write_rule_over("Custom.App", "Every", RULE);
    fs::create_dir(setup.path("types")).unwrap();
    let schema = |fields: &str| {
        fs::write(setup.path("types/Custom.App.yml"), format!("version: 0\nfields: [{fields}]\n")).unwrap();
    };
    let check = || {
        let output = setup.margay(&["check", "--config", "margay.toml"]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    schema("{name: n, type: int}");
    assert_eq!(check().0, Some(0), "nothing is stored yet");
    let daemon = setup.start().await;
    daemon.until(|d| loads(d, "loaded") == 1.0).await;
    setup.file("app/a.jsonl", "{\"n\":1,\"more\":{}}\n");
    daemon.until(|d| objects(d, "app", "committed") == 1.0).await;
    assert_eq!(setup.counts()["v1"], 1);
    assert_eq!(daemon.metrics().get(r#"margay_fields_discovered_total{log_type="Custom.App"}"#), 1.0);
    let fields = || {
        let listed = setup.margay(&["schema", "fields", "custom.app", "--config", "margay.toml"]);
        String::from_utf8_lossy(&listed.stdout).into_owned()
    };
    assert!(fields().starts_with("more  an object, since "), "{}", fields());

    // One that adds a field is the next version, which has the field.
    schema("{name: n, type: int}, {name: more, type: json}");
    daemon.until(|d| loads(d, "loaded") == 2.0).await;
    setup.file("app/b.jsonl", "{\"n\":2,\"more\":{}}\n");
    daemon.until(|d| objects(d, "app", "committed") == 2.0).await;
    assert_eq!(setup.counts()["v2"], 1);
    assert_eq!(fields(), "");

    schema("{name: n, type: bigint}");
    daemon.until(|d| loads(d, "refused") == 1.0).await;
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    for part in ["`n` is widened from int to bigint", "log_types.allow_widening = true", "`more` is gone"] {
        assert!(said.contains(part), "no word of {part}: {said}");
    }
    setup.file("app/c.jsonl", "{\"n\":3}\n");
    daemon.until(|d| objects(d, "app", "committed") == 3.0).await;
    assert_eq!(setup.counts()["v2"], 2);
    drop(daemon);
    // It does not start with it either.
    let output = setup.margay(&["run", "--config", "margay.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`more` is gone"));

    schema("{name: n, type: bigint}, {name: more, type: json}");
    assert_eq!(check().0, Some(1));
    let allowing =
        setup.config().replace("directories = [\"types\"]", "directories = [\"types\"]\nallow_widening = true");
    setup.reconfigure(&allowing);
    assert_eq!(check(), (Some(0), "1 source, 1 rule: no problem\n".to_owned()));
    let daemon = setup.start().await;
    setup.file("app/d.jsonl", "{\"n\":4000000000}\n");
    daemon.until(|d| objects(d, "app", "committed") == 1.0).await;
    assert_eq!(setup.counts()["v3"], 1);
}
