//! Rules and log types from elsewhere: a prefix of a real S3 API server, and a folder behind a link that is swapped, as
//! git-sync does it. What is there becomes the rules whole, or the former ones stay.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::aws::{Aws, Logs};
use crate::daemon::{Daemon, Setup};
use crate::events::login;

const DIRECTORY: &str = "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n\
     [[sources]]\nname = \"local\"\nbucket = \"local\"\nprefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n";

/// A rule that matches all events, and says which one it is.
fn rule(title: &str) -> [(&'static str, String); 2] {
    let yaml = "AnalysisType: rule\nRuleID: Remote\nEnabled: true\nFilename: remote.py\nSeverity: Medium\n\
                LogTypes: [Okta.SystemLog]\nDedupPeriodMinutes: 60\nThreshold: 1\n";
    let python = format!("def rule(event):\n    return True\ndef title(event):\n    return '{title}'\n");
    [("deep/remote.py", python), ("deep/remote.yml", yaml.to_owned())]
}

async fn upload(bucket: &Logs, prefix: &str, files: &[(&str, String)]) {
    for (path, text) in files {
        bucket.put(&format!("{prefix}/{path}"), text.as_bytes()).await;
    }
}

fn sums(files: &[(&str, String)]) -> String {
    let line = |(path, text): &(&str, String)| {
        let sum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{sum}  ./{path}\n")
    };
    files.iter().map(line).collect()
}

/// A daemon whose only rules are in a bucket.
fn setup(aws: &Aws, bucket: &Logs) -> Setup {
    let Logs { bucket, role_arn, .. } = bucket;
    let mut setup = Setup::new().configured(DIRECTORY);
    for (name, value) in aws.env() {
        setup = setup.with_variable(name, &value);
    }
    let setup = setup.configured(&format!(
        "[remote]\npath = \"copies\"\npoll_seconds = 1\nrole_arn = \"{role_arn}\"\nexternal_id = \"id\"\n\
         [log_types]\ndirectories = [\"s3://{bucket}/types\"]\n"
    ));
    let text = setup.config().replace("directories = [\"rules\"]", &format!("directories = [\"s3://{bucket}/live\"]"));
    setup.reconfigure(&text);
    setup
}

fn looks(daemon: &Daemon<'_>, bucket: &Logs, outcome: &str) -> f64 {
    let folder = format!("s3://{}/live/", bucket.bucket);
    daemon.metrics().get(&format!("margay_remote_folder_looks_total{{folder=\"{folder}\",outcome=\"{outcome}\"}}"))
}

/// Waits until events are matches of this rule. Rules are loaded a moment after they were taken, hence more than one event.
async fn becomes(daemon: &Daemon<'_>, title: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let of_title = |daemon: &Daemon<'_>| daemon.counts().get(title).copied().unwrap_or_default();
    let before = of_title(daemon);
    daemon
        .until(|daemon| {
            daemon.file(&format!("{}.jsonl", COUNT.fetch_add(1, Ordering::Relaxed)), login());
            std::thread::sleep(Duration::from_millis(200));
            of_title(daemon) > before
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_prefix_are_taken_whole_and_again_when_they_change() {
    let aws = Aws::start().await;
    let bucket = aws.silent_bucket().await;
    let setup = setup(&aws, &bucket);
    let schema = "version: 0\nschema: Custom.Remote\nfields: [{name: n, type: int}]\n".to_owned();
    upload(&bucket, "types", &[("Custom.Remote.yml", schema)]).await;
    upload(&bucket, "live", &rule("first")).await;
    upload(&bucket, "live-of-last-year", &rule("never")).await;

    // Nothing is here before the first start, and the commands say what to do about that.
    for (arguments, wanted) in [
        (vec!["check"], "aws s3 sync s3://"),
        (vec!["test", "s3://acme-rules/live"], "aws s3 sync s3://acme-rules/live FOLDER"),
        (vec!["rules", "list", "s3://acme-rules/live"], "aws s3 sync"),
        (vec!["schema", "list", "--log-types", "s3://acme-rules/types"], "aws s3 sync"),
    ] {
        let configured = if arguments[0] == "check" { &["--config", "margay.toml"][..] } else { &[] };
        let output = setup.margay(&[&arguments, configured].concat());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(wanted), "{arguments:?}: {said}");
    }

    let daemon = setup.start().await;
    becomes(&daemon, "first").await;
    let folder = format!("s3://{}/live/", bucket.bucket);
    let seen = format!("margay_remote_folder_last_look_timestamp_seconds{{folder=\"{folder}\"}}");
    assert!(daemon.metrics().get(&seen) > 1e9);
    daemon.until(|daemon| looks(daemon, &bucket, "unchanged") > 1.0).await;
    assert_eq!(looks(&daemon, &bucket, "fetched"), 1.0);
    assert_eq!(setup.margay(&["check", "--config", "margay.toml"]).status.code(), Some(0), "the copy is here now");
    let shown = setup.margay(&["config", "--dump", "--config", "margay.toml"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&folder));

    // An upload that tells its end: half of it is no rule set, however long that lasts.
    let second = rule("second");
    bucket.put("live/SHA256SUMS", sums(&second)).await;
    daemon.until(|daemon| looks(daemon, &bucket, "refused") > 1.0).await;
    daemon.file("before.jsonl", login());
    daemon.until(|daemon| daemon.counts()["first"] > 1).await;
    assert!(!setup.counts().contains_key("second"));
    upload(&bucket, "live", &second).await;
    becomes(&daemon, "second").await;

    // What would leave its folder is refused, and so is a prefix without anything.
    let refused = looks(&daemon, &bucket, "refused");
    bucket.put("live/a/../../../escaped.py", "x").await;
    daemon.until(|daemon| looks(daemon, &bucket, "refused") > refused).await;
    assert!(!setup.path("escaped.py").exists() && !setup.path("copies/escaped.py").exists());
    becomes(&daemon, "second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_copy_starts_a_daemon_that_can_not_reach_s3() {
    let aws = Aws::start().await;
    let bucket = aws.silent_bucket().await;
    let setup = setup(&aws, &bucket);
    upload(
        &bucket,
        "types",
        &[("Custom.Remote.yml", "version: 0\nschema: Custom.Remote\nfields: [{name: n, type: int}]\n".into())],
    )
    .await;
    upload(&bucket, "live", &rule("kept")).await;
    let daemon = setup.start().await;
    becomes(&daemon, "kept").await;
    drop(daemon);

    // The bucket is gone: all that is in it, and the right to read it.
    let moved = setup.config().replace(&bucket.role_arn, "not-an-arn");
    let unreachable = setup.with_variable("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    unreachable.reconfigure(&moved);
    let before = unreachable.counts()["kept"];
    let daemon = unreachable.start().await;
    daemon.file("after.jsonl", login());
    daemon.until(|daemon| daemon.counts()["kept"] > before).await;
    daemon.until(|daemon| looks(daemon, &bucket, "failed") > 0.0).await;
    drop(daemon);

    // Without a copy there is no start, and the reason is told.
    fs::remove_dir_all(unreachable.path("copies")).unwrap();
    let output = unreachable.margay(&["run", "--config", "margay.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no former copy of it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_whose_link_is_swapped_is_followed() {
    let setup = Setup::new().configured(DIRECTORY);
    let text = setup.config().replace("directories = [\"rules\"]", "directories = [\"git/current/detections\"]");
    setup.reconfigure(&text);
    // As git-sync lays it: worktrees by their commit, and one link that is renamed over the former.
    let checkout = |commit: &str| {
        let tree = format!("git/.worktrees/{commit}");
        for (path, text) in rule(commit) {
            let path = setup.path(&tree).join("detections").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink(format!(".worktrees/{commit}"), setup.path("git/next")).unwrap();
        fs::rename(setup.path("git/next"), setup.path("git/current")).unwrap();
    };
    checkout("c0ffee");
    let daemon = setup.start().await;
    becomes(&daemon, "c0ffee").await;
    for commit in ["decade", "facade"] {
        checkout(commit);
        becomes(&daemon, commit).await;
    }
    fs::remove_dir_all(setup.path("git/.worktrees/c0ffee")).unwrap();
    checkout("ac1d1c");
    becomes(&daemon, "ac1d1c").await;
    assert_eq!(daemon.metrics().get("margay_rules_failed"), 0.0);
}
