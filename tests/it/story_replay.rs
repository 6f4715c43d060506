//! What was kept aside or never announced, sent through the pipeline by commands: beside a daemon, after one, before
//! one.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use margay::model::{ObjectRef, file_etag};
use margay::state::sqlite::SqliteStore;
use margay::state::{Claim, Ledger, ObjectOutcome, ObjectState, Quarantine, SqliteConfig};
use serde_json::Value;
use time::OffsetDateTime;

use crate::aws::{Aws, Logs, Stored};
use crate::daemon::{MARGAY, Setup};
use crate::events::{login, logins};

const EVERY: &str = "def rule(event):\n    return True\ndef title(event):\n    return 'seen'\n";

/// Runs a command with this configuration; its exit code and what it printed.
fn margay(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = setup.margay(arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().expect("it was not killed"), said)
}

fn backfill(setup: &Setup, more: &[&str]) -> (i32, String) {
    margay(setup, &[&["backfill", "--config", "margay.toml", "--source", "local"], more].concat())
}

fn audit(setup: &Setup) -> (i32, Vec<Value>) {
    let arguments = ["audit", "--config", "margay.toml", "--source", "local", "--since", "1d", "--until", "0s"];
    let output = setup.margay(&[&arguments[..], &["--format", "jsonl"]].concat());
    (output.status.code().expect("it was not killed"), json_lines(&output))
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("JSON is UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn kept(setup: &Setup, kind: &str) -> Vec<Value> {
    let arguments = ["quarantine", "list", "--config", "margay.toml", "--format", "jsonl", "--kind", kind];
    json_lines(&setup.margay(&arguments))
}

/// A second configuration over the same state, bucket and rules: `sources` in the place of the first one's.
fn configuration(setup: &Setup, name: &str, sources: &str) {
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[rules]\ndirectories = [\"rules\"]\nworkers = 1\n\
         [queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\n{sources}"
    );
    fs::write(setup.path(name), text).expect("write a configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_reads_what_is_not_done_and_an_audit_finds_it() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    setup.file("a/1.jsonl", logins(2));
    setup.file("b c+d%é.jsonl", logins(3));
    setup.file("empty.jsonl", "");
    // Nothing has run before: there is no state file yet.
    let (code, said) = backfill(&setup, &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(setup.counts()["seen"], 5);
    assert_eq!(audit(&setup), (0, Vec::new()));

    setup.file("a/2.jsonl", logins(4));
    let (code, gaps) = audit(&setup);
    assert_eq!((code, gaps.len(), &gaps[0]["key"]), (1, 1, &"a/2.jsonl".into()));
    let (code, said) = backfill(&setup, &["--dry-run"]);
    assert!(code == 0 && said.contains("a/2.jsonl") && !said.contains("a/1.jsonl"), "{said}");
    assert_eq!(setup.counts()["seen"], 5);
    assert_eq!(backfill(&setup, &["--prefix", "b"]).0, 0);
    assert_eq!(backfill(&setup, &["--until", "1d"]).0, 0);
    assert_eq!(setup.counts()["seen"], 5);
    assert_eq!(backfill(&setup, &["--prefix", "a/"]).0, 0);
    assert_eq!(setup.counts()["seen"], 9);
    assert_eq!(audit(&setup), (0, Vec::new()));

    // The daemon knows them all.
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 4.0).await;
    assert_eq!(daemon.metrics().get(r#"margay_events_total{log_type="Okta.SystemLog",source="local"}"#), 0.0);
    assert_eq!(setup.counts()["seen"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_beside_a_busy_daemon_counts_nothing_twice() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    const FILES: usize = 150;
    for n in 0..FILES {
        setup.file(&format!("{n}.jsonl"), logins(10));
    }
    let daemon = setup.start().await;
    let (code, said) = tokio::task::block_in_place(|| backfill(&setup, &[]));
    assert_eq!(code, 0, "{said}");
    daemon.until(|d| d.counts().get("seen") == Some(&(FILES as u64 * 10))).await;
    let events = daemon.metrics().get(r#"margay_events_total{log_type="Okta.SystemLog",source="local"}"#);
    assert!(events <= FILES as f64 * 10.0, "{events}");
    assert_eq!(daemon.metrics().get("margay_state_errors_total"), 0.0);
    assert_eq!(audit(&setup), (0, Vec::new()));
}

fn spawn(setup: &Setup, arguments: &[&str]) -> Child {
    let mut command = Command::new(MARGAY);
    command.args(arguments).current_dir(setup.path("")).env_clear().stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start margay")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_stopped_goes_on_where_it_was() {
    let slow =
        "import time\ndef rule(event):\n    time.sleep(0.005)\n    return True\ndef title(event):\n    return 'seen'\n";
    let setup = Setup::new().rule("Slow", slow).watching_directory();
    const FILES: usize = 300;
    for n in 0..FILES {
        setup.file(&format!("{n:04}.jsonl"), logins(10));
    }
    assert_eq!(margay(&setup, &["check", "--config", "margay.toml"]).0, 0);
    let mut stopped = spawn(&setup, &["backfill", "--config", "margay.toml", "--source", "local"]);
    tokio::task::block_in_place(|| {
        while setup.counts().get("seen").is_none_or(|seen| *seen < 100) {
            assert_eq!(stopped.try_wait().expect("look after it"), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(50));
        }
        let sent = Command::new("kill").args(["-TERM", &stopped.id().to_string()]).status();
        assert!(sent.expect("run kill").success());
        assert_eq!(stopped.wait().expect("wait for it").code(), Some(1));
    });
    let first = setup.counts()["seen"];
    assert!(first < FILES as u64 * 10, "it was stopped in the middle");

    // What it goes on behind is not listed again, whatever the ledger says.
    fs::remove_file(setup.path("bucket/0000.jsonl")).expect("remove a file");
    setup.file("0000.jsonl", logins(1));
    let (code, said) = backfill(&setup, &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(setup.counts()["seen"], FILES as u64 * 10);
    let (code, gaps) = audit(&setup);
    assert_eq!((code, gaps.len(), &gaps[0]["key"]), (1, 1, &"0000.jsonl".into()));
    // A whole one leaves no checkpoint.
    assert_eq!(backfill(&setup, &[]).0, 0);
    assert_eq!(setup.counts()["seen"], FILES as u64 * 10 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unrouted_objects_are_replayed_when_a_source_takes_them_while_the_daemon_runs() {
    let setup = Setup::new().rule("Every", EVERY).configured(
        "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n\
         [[sources]]\nname = \"a\"\nbucket = \"local\"\nprefixes = [{ prefix = \"a/\", log_types = [\"Okta.SystemLog\"] }]\n",
    );
    setup.file("a/1.jsonl", login());
    setup.file("b/1.jsonl", logins(2));
    setup.file("c/1.jsonl", logins(3));
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="",state="unrouted"}"#) == 2.0).await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="a",state="committed"}"#) == 1.0).await;
    let replay = |more: &[&str]| {
        tokio::task::block_in_place(|| {
            margay(&setup, &[&["replay", "--config", "mended.toml", "--unrouted"], more].concat())
        })
    };
    configuration(
        &setup,
        "mended.toml",
        "[[sources]]\nname = \"b\"\nbucket = \"local\"\nprefixes = [{ prefix = \"b/\", log_types = [\"Okta.SystemLog\"] }]\n",
    );
    let (code, said) = replay(&["--dry-run"]);
    assert!(code == 0 && said.contains("b/1.jsonl") && said.contains("c/1.jsonl"), "{said}");
    let (code, said) = replay(&["--prefix", "b/"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(setup.counts()["seen"], 3);
    // One is left, and no source takes it.
    let (code, said) = replay(&[]);
    assert!(code == 1 && said.contains("c/1.jsonl") && !said.contains("b/1.jsonl"), "{said}");
    assert_eq!(kept(&setup, "object").len(), 1);
    // The daemon delivers the alert, and goes on.
    setup.file("a/2.jsonl", login());
    daemon.until(|d| d.counts()["seen"] == 4).await;
    assert_eq!(daemon.metrics().get("margay_state_errors_total"), 0.0);
}

/// A file of the bucket as an object.
fn object(setup: &Setup, key: &str) -> ObjectRef {
    let metadata = fs::metadata(setup.path("bucket").join(key)).expect("it is there");
    ObjectRef {
        bucket: "local".into(),
        key: key.into(),
        version_id: None,
        etag: Some(file_etag(metadata.len(), metadata.modified().expect("it has a time"))),
        size: Some(metadata.len()),
        region: None,
        sequencer: None,
    }
}

async fn ended(store: &SqliteStore, object: &ObjectRef, state: ObjectState) {
    let now = OffsetDateTime::from_unix_timestamp(1_767_323_045).expect("a time");
    let claim = store.claim(object, "local", None, now, now + Duration::from_secs(60)).await.unwrap();
    let Claim::Granted(token, _) = claim else { panic!("{claim:?}") };
    store.finish(&token, &ObjectOutcome::without_events(state, "as a test has it"), now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_every_open_state_and_messages_are_replayed() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    let config = SqliteConfig { path: setup.path("margay.db") };
    let store = SqliteStore::open(&config).await.unwrap();
    for (name, state) in [
        ("parked", ObjectState::Parked),
        ("missing", ObjectState::Missing),
        ("quarantined", ObjectState::Quarantined),
        ("archived", ObjectState::Archived),
    ] {
        setup.file(name, login());
        ended(&store, &object(&setup, name), state).await;
    }
    // Known by nothing but its key when it was missing.
    setup.file("by-key", login());
    let by_key = ObjectRef { etag: None, size: None, ..object(&setup, "by-key") };
    ended(&store, &by_key, ObjectState::Missing).await;
    // Announced in a format that an older margay did not know.
    setup.file("by-message", login());
    let now = OffsetDateTime::from_unix_timestamp(1_767_323_045).expect("a time");
    let known = margay::notify::announce(&object(&setup, "by-message"));
    for (id, body) in [("m1", known.as_str()), ("m2", "hello")] {
        store.keep_message(id, body, "no notification", now).await.unwrap();
    }
    drop(store);

    let replay = |what: &[&str]| margay(&setup, &[&["replay", "--config", "margay.toml"], what].concat());
    assert_eq!(replay(&[]).0, 64);
    assert_eq!(replay(&["--parked", "--source", "other"]).0, 0);
    assert_eq!(setup.counts().get("seen"), None);
    let (code, said) = replay(&["--parked", "--missing"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(setup.counts()["seen"], 3);
    let (code, said) = replay(&["--quarantined", "--archived"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(setup.counts()["seen"], 5);
    assert!(kept(&setup, "object").is_empty());

    let (code, said) = replay(&["--messages"]);
    assert!(code == 1 && said.contains("m2") && !said.contains("m1"), "{said}");
    assert_eq!(setup.counts()["seen"], 6);
    let left = kept(&setup, "message");
    assert_eq!((left.len(), &left[0]["subject"]), (1, &"m2".into()));
}

const BIG: &str = "schema: Custom.Big\nfields:\n  - name: big\n    type: string\n    required: true\n";

#[tokio::test(flavor = "multi_thread")]
async fn records_are_replayed_when_a_log_type_takes_them() {
    let setup = Setup::new().configured(
        "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n\
         [[sources]]\nname = \"local\"\nbucket = \"local\"\nstream_type = \"Lines\"\n\
         prefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n",
    );
    fs::write(setup.path("rules/Big.py"), EVERY).expect("write a rule");
    let yaml = "AnalysisType: rule\nRuleID: Big\nEnabled: true\nFilename: Big.py\nSeverity: Low\n\
                LogTypes: [Okta.SystemLog, Custom.Big]\n";
    fs::write(setup.path("rules/Big.yml"), yaml).expect("write a rule");
    fs::create_dir(setup.path("types")).expect("make a folder");
    fs::write(setup.path("types/big.yml"), BIG).expect("write a log type");
    // More than is kept of a record.
    let cut = format!("{{\"big\":\"{}\"}}\n", "x".repeat(1_500_000));
    let small = "{\"big\":\"small\"}\n";
    setup.file("a.jsonl", [login().as_bytes(), small.as_bytes(), b"\xff\xfe\n", cut.as_bytes()].concat());
    setup.file("b.jsonl", [login(), cut.clone(), small.to_owned()].concat());
    setup.file("plain.jsonl", login());
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get(r#"margay_objects_total{source="local",state="committed"}"#) == 3.0).await;
    assert_eq!(setup.counts()["seen"], 3);
    assert_eq!(kept(&setup, "record").len(), 5);
    fs::remove_file(setup.path("bucket/b.jsonl")).expect("remove a file");

    configuration(
        &setup,
        "mended.toml",
        "[log_types]\ndirectories = [\"types\"]\n\
         [[sources]]\nname = \"local\"\nbucket = \"local\"\nstream_type = \"Lines\"\n\
         prefixes = [{ log_types = [\"Okta.SystemLog\", \"Custom.Big\"] }]\n",
    );
    let replay = || tokio::task::block_in_place(|| margay(&setup, &["replay", "--config", "mended.toml", "--records"]));
    let (code, said) = replay();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("3 records became 3 events, 2 are none"), "{said}");
    assert!(
        said.contains("b.jsonl") && said.contains("was removed"),
        "the cut record of the object that is gone: {said}"
    );
    assert_eq!(setup.counts()["seen"], 6);
    assert_eq!(kept(&setup, "record").len(), 2);
    // Nothing is counted again.
    assert!(replay().1.contains("0 records became 0 events, 2 are none"));
    assert_eq!(setup.counts()["seen"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_record_is_shown_with_its_reason_place_and_bytes() {
    let setup = Setup::new().rule("Every", EVERY).watching_directory();
    setup.file("a.jsonl", [login().as_bytes(), b"\xff\xfe\x1b[31m not text\n", login().as_bytes()].concat());
    let name = std::ffi::OsStr::from_bytes(b"\xff.jsonl");
    fs::write(setup.path("bucket").join(name), login()).expect("write a file");
    let daemon = setup.start().await;
    daemon.until(|_| kept(&setup, "record").len() == 1 && kept(&setup, "message").len() == 1).await;
    let show = |id: &Value, more: &[&str]| {
        let id = id.as_str().expect("an id is text");
        margay(&setup, &[&["quarantine", "show", "--config", "margay.toml", id], more].concat())
    };
    let record = &kept(&setup, "record")[0];
    let (code, said) = show(&record["id"], &[]);
    assert_eq!(code, 0, "{said}");
    for part in [
        "a.jsonl#1",
        "tries    1, the last 20",
        "ordinal  1",
        "not a JSON value",
        "ff fe 1b 5b 33 31 6d",
        "|...[31m not text|",
    ] {
        assert!(said.contains(part), "no {part}: {said}");
    }
    assert!(show(&record["id"], &["--bytes", "2"]).1.contains("2 shown"));
    let message = &kept(&setup, "message")[0];
    let (code, said) = show(&message["id"], &[]);
    assert!(code == 0 && said.contains("%FF.jsonl"), "{said}");
    assert!(show(&message["id"], &["--hex"]).1.contains("00000000  "));
    assert_eq!(show(&"r000000000000-1".into(), &[]).0, 1);

    let some = |more: &[&str]| {
        let all = ["quarantine", "list", "--config", "margay.toml", "--format", "jsonl"];
        json_lines(&setup.margay(&[&all[..], more].concat())).len()
    };
    assert_eq!(some(&["--subject-contains", "a.jsonl#1"]), 1);
    assert_eq!(some(&["--since", "1h"]), 2);
    assert_eq!(margay(&setup, &["quarantine", "list", "--config", "margay.toml", "--since", "later"]).0, 64);
}

/// What S3 says of a new version; the API server of the tests leaves the version out.
fn announced(logs: &Logs, key: &str, stored: &Stored) -> String {
    assert!(stored.version_id.is_some(), "the bucket keeps versions");
    margay::notify::announce(&ObjectRef {
        bucket: logs.bucket.clone(),
        key: key.into(),
        version_id: stored.version_id.clone(),
        etag: Some(stored.etag.clone()),
        size: None,
        region: None,
        sequencer: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_versions_is_audited_and_backfilled_by_the_identity_of_its_notifications() {
    let aws = Aws::start().await;
    let logs = aws.silent_bucket().await;
    logs.keep_versions().await;
    let setup = Setup::new().rule("Every", EVERY).reading_sqs(&aws, &logs);
    let mut daemon = setup.start().await;
    for (key, events) in [("a/1.jsonl", 1), ("a b+c.jsonl", 2)] {
        let stored = logs.put(key, logins(events)).await;
        aws.send(&logs.queue_url, &announced(&logs, key, &stored)).await;
    }
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 2.0).await;
    daemon.signal("TERM");
    tokio::task::block_in_place(|| assert!(daemon.ended().success()));
    drop(daemon);

    // Announced to a daemon that is not there.
    let stored = logs.put("z.jsonl", logins(4)).await;
    aws.send(&logs.queue_url, &announced(&logs, "z.jsonl", &stored)).await;
    let run = |command: &str, more: &[&str]| {
        let arguments = [&[command, "--config", "margay.toml", "--source", "remote"], more].concat();
        tokio::task::block_in_place(|| setup.margay(&arguments))
    };
    let audit = || run("audit", &["--since", "1d", "--until", "0s", "--format", "jsonl"]);
    let gaps = audit();
    assert_eq!(gaps.status.code(), Some(1), "{gaps:?}");
    let keys: Vec<Value> = json_lines(&gaps).into_iter().map(|gap| gap["key"].clone()).collect();
    assert_eq!(keys, ["z.jsonl"]);
    let filled = run("backfill", &["--since", "1d"]);
    assert!(filled.status.success(), "{filled:?}");
    assert_eq!(setup.counts()["seen"], 7);
    assert!(audit().status.success());

    // Its notification is of the same identity.
    let daemon = setup.start().await;
    daemon.until(|d| d.metrics().get("margay_messages_acknowledged_total") == 1.0).await;
    assert_eq!(daemon.metrics().get(r#"margay_events_total{log_type="Okta.SystemLog",source="remote"}"#), 0.0);
    assert_eq!(setup.counts()["seen"], 7);
}
