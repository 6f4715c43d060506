//! The guide for new users, word by word: its own blocks are the commands here, run against the API server with two
//! accounts. What a reader is told to do by hand stands below; everything else is the page's.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::aws::{Aws, python};
use crate::daemon::{MARGAY, shipped};

/// The account of the source in the guide; margay's is that of the server.
const SOURCE_ACCOUNT: &str = "111122223333";

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A block of the guide.
struct Block {
    title: String,
    language: String,
    text: String,
}

/// The numbered steps of the guide.
fn blocks() -> Vec<Block> {
    let page = fs::read_to_string(shipped("config/onboarding.md")).unwrap();
    let (mut found, mut title, mut open): (Vec<Block>, _, Option<Block>) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => found.push(block),
            (Some(language), None) => {
                open = Some(Block { title: title.clone(), language: language.to_owned(), text: String::new() });
            }
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    title = heading.to_owned();
                }
            }
        }
    }
    found.retain(|block| block.title.starts_with(|first: char| first.is_ascii_digit()));
    found
}

/// A new user: a clone, a shell, and credentials of two accounts.
struct User {
    clone: TempDir,
    own: Vec<(String, String)>,
    of_source: Vec<(String, String)>,
}

impl User {
    async fn new(aws: &Aws) -> User {
        let clone = tempfile::tempdir().unwrap();
        let of_source = aws.env_of_account(SOURCE_ACCOUNT).await;
        let own: Vec<(String, String)> = aws.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for folder in ["rules", "config"] {
            symlink(shipped(folder), clone.path().join(folder)).unwrap();
        }
        let bin = clone.path().join("target/release");
        fs::create_dir_all(&bin).unwrap();
        symlink(MARGAY, bin.join("margay")).unwrap();
        // CloudFormation is played by what knows the templates whole; everything else is the real command line.
        let (python, aws) = (python::interpreter(), python::interpreter().with_file_name("aws"));
        fs::copy(shipped("tests/it/aws/cloudformation.py"), bin.join("cloudformation.py")).unwrap();
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in cloudformation) exec '{}' '{}' \"$@\";; esac\nexec '{}' '{}' \"$@\"\n",
            python.display(),
            bin.join("cloudformation.py").display(),
            python.display(),
            aws.display(),
        );
        fs::write(bin.join("aws"), script).unwrap();
        fs::set_permissions(bin.join("aws"), fs::Permissions::from_mode(0o755)).unwrap();
        User { clone, own, of_source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.clone.path().join(name)
    }

    /// A shell with the credentials of margay's account or of the source's.
    fn shell(&self, script: &str, own: bool) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default().into_string().unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-euc", script]).current_dir(self.clone.path()).env_clear();
        shell.env("PATH", format!("{}:{path}", self.path("target/release").display()));
        // As the first step says it; every shell is a new one here.
        shell.env("MARGAY_CONFIG", "margay.toml").env("MARGAY_HTTP__LISTEN", "127.0.0.1:0").env("AWS_PAGER", "");
        shell.envs(if own { &self.own } else { &self.of_source }.iter().map(|(name, value)| (name, value)));
        shell
    }

    /// Runs the commands of a block one by one: those of `aws` in the account of the step's title.
    fn follow(&self, block: &Block, environment: &[(&str, &str)]) -> Vec<Output> {
        let text = block.text.replace("\\\n", " ");
        let of_source = block.title.contains("source's account") || block.title.ends_with("Run");
        let run = |line: &str| {
            let mut shell = self.shell(line, !(of_source && line.starts_with("aws ")));
            shell.envs(environment.iter().copied());
            let output = shell.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // A check ends with 1 while a step fails, and the guide says when that is.
            let may_fail = line.starts_with("margay source check");
            assert!(output.status.success() || may_fail, "{line}: {}\n{said}", output.status);
            output
        };
        text.lines().filter(|line| !line.trim().is_empty()).map(run).collect()
    }

    /// The steps of the check of the guide's source, by name.
    fn checked(&self) -> BTreeMap<String, String> {
        let output = self.shell("margay source check okta --format jsonl", true).output().unwrap();
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        line["checks"].as_array().unwrap().iter().map(|c| (text(&c["check"]), text(&c["verdict"]))).collect()
    }
}

/// A running daemon; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: it did not happen");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_leads_from_two_accounts_to_the_first_alert() {
    let aws = Aws::start().await;
    let user = User::new(&aws).await;
    tokio::task::block_in_place(|| follow_the_guide(&user));
}

fn follow_the_guide(user: &User) {
    let started = Instant::now();
    let mut page = blocks().into_iter();
    // The block that must come next begins with these words; so none is passed over unseen.
    let mut next = |words: &str| {
        let block = page.next().unwrap_or_else(|| panic!("the guide ends before `{words}`"));
        assert!(block.text.starts_with(words), "the next block begins with `{words}`, not\n{}", block.text);
        block
    };

    let configuration = next("[queue]");
    assert_eq!(configuration.language, "toml");
    fs::write(user.path("margay.toml"), configuration.text).unwrap();
    let checked = user.follow(&next("export MARGAY_CONFIG=margay.toml\nmargay check"), &[]);
    assert!(text(&checked[1]).ends_with("no problem\n"), "{}", text(&checked[1]));

    let queue = user.follow(&next("margay source template queue"), &[]);
    assert!(text(&queue[2]).contains("123456789012/margay-notifications"), "{}", text(&queue[2]));
    // Its shells have credentials of margay itself.
    assert_eq!(next("[profile margay]").language, "ini");
    user.follow(&next("margay source template iam"), &[]);
    let verdicts = user.checked();
    assert_ne!(verdicts["role"], "failed", "{verdicts:?}");
    let topic = user.follow(&next("margay source template notifications"), &[]);
    assert!(text(&topic[2]).contains("arn:aws:sqs:eu-central-1:123456789012:margay-notifications"));
    // The bucket notifies nobody else.
    next("margay source template notifications --source okta --existing-topic TOPIC_ARN");

    user.follow(&next("margay source template bucket"), &[]);
    let asked = next("aws s3api get-bucket-notification-configuration");
    let set = next("aws s3api put-bucket-notification-configuration");
    let check = next("margay source check okta");
    user.follow(&check, &[]);
    assert_announced(user);

    let run = next("margay run");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let beside = [("MARGAY_HTTP__LISTEN", port.as_str())];
    let mut daemon = user.shell(&format!("exec {}", run.text), true);
    let daemon = daemon.envs(beside).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let _daemon = Running(daemon);
    let is_ready = || user.shell("margay health --ready", true).envs(beside).output().unwrap().status.success();
    until("the daemon is ready", is_ready);
    user.follow(&next("aws s3 cp"), &beside);
    let look = next("margay source list");
    let (mut source, mut alerts) = (String::new(), String::new());
    until("alerts", || {
        let seen = user.follow(&look, &beside);
        (source, alerts) = (text(&seen[0]), text(&seen[1]));
        alerts.contains("Super administrator")
    });
    eprintln!("from the empty accounts to the first alert in {} s", started.elapsed().as_secs());
    assert!(source.contains("acme-okta-logs") && !source.contains("never"), "{source}");
    assert!(alerts.contains("CRITICAL"), "{alerts}");
    let explained = user.follow(&next("margay source check okta\nmargay explain"), &beside);
    assert!(text(&explained[1]).contains("gives"), "{}", text(&explained[1]));
    let audited = user.follow(&next("margay backfill"), &beside);
    let said = String::from_utf8_lossy(&audited[1].stderr);
    assert!(said.contains("no gap"), "{said}");

    a_bucket_that_exists(user, &asked, &set);
    assert!(page.next().is_none(), "a step has a block that nobody follows");
}

/// The other way of step 5, for the same bucket after somebody has taken its notifications away.
fn a_bucket_that_exists(user: &User, asked: &Block, set: &Block) {
    let clear = "aws s3api put-bucket-notification-configuration --region us-west-2 --bucket acme-okta-logs \
                 --notification-configuration '{}'";
    assert!(user.shell(clear, false).status().unwrap().success());
    assert_ne!(user.checked()["notification"], "healthy");
    user.follow(asked, &[]);
    // By hand, as the guide says it.
    assert_eq!(fs::read_to_string(user.path("notifications.json")).unwrap().trim(), "");
    fs::copy(user.path("wanted.json"), user.path("notifications.json")).unwrap();
    user.follow(set, &[]);
    assert_announced(user);
}

#[track_caller]
fn assert_announced(user: &User) {
    let verdicts = user.checked();
    for step in ["bucket", "list", "notification", "queue"] {
        assert_eq!(verdicts[step], "healthy", "{step} of {verdicts:?}");
    }
}

#[test]
fn the_guide_is_found_whole() {
    let blocks = blocks();
    assert!(blocks.len() > 10, "{}", blocks.len());
    assert!(Path::new(&shipped("config/onboarding.md")).exists());
}
