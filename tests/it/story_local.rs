//! What margay does, told as stories with the real binary: the embedded way, without any server.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::daemon::{Setup, shipped};
use crate::events::{login, logins};

/// Every login, counted under one title.
const EVERY_LOGIN: &str = "def rule(event):\n    return event['eventType'] == 'user.session.start'\n\
                           def title(event):\n    return 'login'\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_samples_raise_alerts_of_many_rules_once() {
    let setup = Setup::new();
    copy(&shipped("config/samples"), &setup.path("bucket"));
    copy(&shipped("rules"), &setup.path("rules"));
    let setup = setup.configured(
        "[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n\
         [[sources]]\nname = \"local\"\nbucket = \"local\"\nprefixes = [\n\
         { prefix = \"cloudtrail/\", log_types = [\"AWS.CloudTrail\"] },\n\
         { prefix = \"vpcflow/\", log_types = [\"AWS.VPCFlow\"] },\n\
         { prefix = \"s3access/\", log_types = [\"AWS.S3ServerAccess\"] },\n\
         { prefix = \"okta/\", log_types = [\"Okta.SystemLog\"] },\n]\n",
    );
    let objects = 5.0;
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == objects).await;
    let alerts = setup.alerts();
    let rules: BTreeSet<&str> = alerts.iter().filter_map(|alert| alert["ruleId"].as_str()).collect();
    assert_eq!(rules.len(), 37, "every shipped rule finds something in the samples: {rules:?}");
    let errors: Vec<_> = alerts.iter().filter(|alert| alert["type"] != "RULE").collect();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(daemon.metrics().get(r#"margay_classification_failures_total{source="local"}"#), 0.0);
    daemon
        .until(|d| {
            d.metrics().get(r#"margay_deliveries_total{destination="stdout",outcome="delivered"}"#) as usize
                == alerts.len()
        })
        .await;
    let printed = daemon.printed();
    assert_eq!(printed.len(), alerts.len(), "one JSON line an alert");
    drop(daemon);

    // A second start finds everything done.
    let again = setup.start().await;
    again.until(|d| d.metrics().get("margay_messages_acknowledged_total") >= objects).await;
    assert_eq!(setup.alerts(), alerts);
    assert!(again.printed().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_a_new_object() {
    let setup = Setup::new().rule("Login", EVERY_LOGIN).watching_directory();
    let daemon = setup.start().await;
    setup.file("a.jsonl", logins(3));
    daemon.until(|d| d.counts().get("login") == Some(&3)).await;
    setup.file("b.jsonl.gz", crate::aws::gzip(logins(2)));
    daemon.until(|d| d.counts().get("login") == Some(&5)).await;
    assert_eq!(setup.alerts().len(), 1, "one window, one alert");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_in_the_middle_of_an_object_counts_nothing_twice() {
    let slow =
        "import time\ndef rule(event):\n    time.sleep(0.002)\n    return True\ndef title(event):\n    return 'slow'\n";
    let setup = Setup::new().rule("Slow", slow).watching_directory();
    setup.file("a.jsonl", logins(2000));
    let mut daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("slow")).await;
    daemon.signal("KILL");
    daemon.ended();
    let counted = setup.counts()["slow"];
    assert!(counted < 2000, "it was killed in the middle of the object");

    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 1.0).await;
    assert_eq!(setup.counts()["slow"], 2000);
    assert_eq!(setup.alerts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_workers_end_with_a_killed_daemon_even_while_they_are_busy() {
    let endless = "def rule(event):\n    while True: pass\n";
    let setup = Setup::new().rule("Endless", endless).watching_directory();
    setup.file("a.jsonl", logins(1));
    let mut daemon = setup.start().await;
    let workers = daemon.workers();
    assert!(!workers.is_empty());
    daemon.signal("KILL");
    daemon.ended();
    let alive = |pid: &u32| {
        Path::new(&format!("/proc/{pid}/exe")).exists() && fs::read_link(format!("/proc/{pid}/exe")).is_ok()
    };
    let started = std::time::Instant::now();
    while workers.iter().any(alive) {
        assert!(started.elapsed().as_secs() < 20, "a worker outlives its daemon");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_daemon_ends_its_work_first() {
    let setup = Setup::new().rule("Login", EVERY_LOGIN).watching_directory();
    let mut daemon = setup.start().await;
    setup.file("a.jsonl", logins(2000));
    daemon.until(|d| d.metrics().get("margay_messages_received_total") == 1.0).await;
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    assert_eq!(setup.counts()["login"], 2000, "the object in flight was finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_daemon_without_time_leaves_its_work_to_the_next() {
    let slow =
        "import time\ndef rule(event):\n    time.sleep(0.002)\n    return True\ndef title(event):\n    return 'slow'\n";
    let setup = Setup::new().rule("Slow", slow).watching_directory();
    let setup = setup.configured("[pipeline]\nshutdown_grace_seconds = 1\npoison_after = 1\n");
    setup.file("a.jsonl", logins(4000));
    let mut daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("slow")).await;
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    assert!(setup.counts()["slow"] < 4000, "it ended in the middle of the object");

    // Handed over in order: one crash would be enough to take the object for a suspect.
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 1.0).await;
    assert_eq!(setup.counts()["slow"], 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_over_which_the_daemon_is_killed_is_a_suspect() {
    let slow =
        "import time\ndef rule(event):\n    time.sleep(0.002)\n    return True\ndef title(event):\n    return 'slow'\n";
    let setup = Setup::new().rule("Slow", slow).watching_directory();
    let setup = setup.configured("[pipeline]\npoison_after = 1\n");
    setup.file("a.jsonl", logins(4000));
    let mut daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("slow")).await;
    daemon.signal("KILL");
    daemon.ended();

    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="quarantined"}"#) == 1.0).await;
    let listed = setup.margay(&["quarantine", "list", "--config", "margay.toml", "--format", "jsonl"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed["reason"].as_str().unwrap().contains("crash_suspect"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_change_under_load_without_losing_an_event() {
    const EVENTS: usize = 50;
    let version = |n: u32| format!("def rule(event):\n    return True\ndef title(event):\n    return 'v{n}'\n");
    let setup = Setup::new().rule("Versioned", &version(1)).watching_directory();
    let daemon = setup.start().await;
    let files = Cell::new(0);
    // Files keep coming while the rule changes, and changes again.
    for n in 1..=3 {
        setup.write_rule("Versioned", &version(n));
        daemon
            .until(|d| {
                d.file(&format!("{}.jsonl", files.get()), logins(EVENTS));
                files.set(files.get() + 1);
                d.counts().contains_key(&format!("v{n}"))
            })
            .await;
    }
    daemon.until(|d| d.counts().values().sum::<u64>() == (files.get() * EVENTS) as u64).await;
    assert_eq!(setup.counts().len(), 3, "each version had its events: {:?}", setup.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rule_keeps_its_last_good_version_until_it_is_mended() {
    let setup = Setup::new().rule("Login", EVERY_LOGIN).watching_directory();
    let daemon = setup.start().await;
    setup.write_rule("Login", "def rule(event)\n    return True\n");
    daemon.until(|d| d.metrics().get("margay_rules_failed") == 1.0).await;
    assert_eq!(daemon.metrics().get("margay_rules_loaded"), 1.0);
    setup.file("a.jsonl", login());
    daemon.until(|d| d.counts().contains_key("login")).await;

    setup.write_rule("Login", &EVERY_LOGIN.replace("'login'", "'mended'"));
    daemon.until(|d| d.metrics().get("margay_rules_failed") == 0.0).await;
    setup.file("b.jsonl", login());
    daemon.until(|d| d.counts().contains_key("mended")).await;
    assert!(setup.alerts().iter().all(|alert| alert["type"] == "RULE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_helper_and_a_folder_that_is_gone_leave_the_rules_at_work() {
    // The rules come from a folder elsewhere, as from a mount.
    let setup = Setup::new().watching_directory();
    fs::create_dir(setup.path("mounted")).unwrap();
    std::os::unix::fs::symlink("../mounted", setup.path("rules/linked")).unwrap();
    let helper = |result: &str| {
        let yaml = "AnalysisType: global\nGlobalID: acme\nFilename: acme.py\n";
        fs::write(setup.path("mounted/acme.py"), format!("def title_of(event):\n    return {result}\n")).unwrap();
        fs::write(setup.path("mounted/acme.yml"), yaml).unwrap();
    };
    helper("'first'");
    setup.write_rule(
        "Login",
        "import acme\ndef rule(event):\n    return True\ndef title(event):\n    return acme.title_of(event)\n",
    );
    for name in ["Login.py", "Login.yml"] {
        fs::rename(setup.path("rules").join(name), setup.path("mounted").join(name)).unwrap();
    }
    let daemon = setup.start().await;
    helper("(");
    daemon.until(|d| d.metrics().get("margay_rules_failed") > 0.0).await;
    setup.file("a.jsonl", login());
    daemon.until(|d| d.counts().get("first") == Some(&1)).await;

    helper("'second'");
    daemon.until(|d| d.metrics().get("margay_rules_failed") == 0.0).await;
    fs::rename(setup.path("mounted"), setup.path("elsewhere")).unwrap();
    daemon.signal("HUP");
    daemon.until(|d| d.metrics().get("margay_rules_failed") > 0.0).await;
    assert_eq!(daemon.metrics().get("margay_rules_loaded"), 1.0);
    setup.file("b.jsonl", login());
    daemon.until(|d| d.counts().get("second") == Some(&1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_update_is_seen() {
    let setup = Setup::new().watching_directory();
    // As Kubernetes mounts one: files are links through `..data`, which is a link to a folder per version.
    let rules = setup.path("rules");
    for (version, title) in [("..v1", "first"), ("..v2", "second")] {
        setup.write_rule("Mapped", &EVERY_LOGIN.replace("'login'", &format!("'{title}'")));
        fs::create_dir(rules.join(version)).unwrap();
        for name in ["Mapped.py", "Mapped.yml"] {
            fs::rename(rules.join(name), rules.join(version).join(name)).unwrap();
        }
    }
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, rules.join(name)).unwrap();
    link("..v1", "..data");
    link("..data/Mapped.py", "Mapped.py");
    link("..data/Mapped.yml", "Mapped.yml");
    let daemon = setup.start().await;
    setup.file("a.jsonl", login());
    daemon.until(|d| d.counts().contains_key("first")).await;

    link("..v2", "..data_tmp");
    fs::rename(rules.join("..data_tmp"), rules.join("..data")).unwrap();
    daemon.until(|d| d.metrics().get(r#"margay_rule_sets_loaded_total{outcome="loaded"}"#) == 2.0).await;
    setup.file("b.jsonl", login());
    daemon.until(|d| d.counts().contains_key("second")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_loads_the_rules_anew() {
    let setup = Setup::new().rule("Login", EVERY_LOGIN).watching_directory();
    let daemon = setup.start().await;
    daemon.signal("HUP");
    daemon.until(|d| d.metrics().get(r#"margay_rule_sets_loaded_total{outcome="loaded"}"#) == 2.0).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
