//! A margay process of its own: a folder with its configuration and rules, the real binary, and what can be seen of it
//! from outside. It ends with the test.
//!
//! ```ignore
//! let setup = Setup::new().rule("Every", MATCHES_ALL);
//! let daemon = setup.watching_directory().start().await;
//! daemon.file("a.jsonl", "{\"n\":1}\n");
//! daemon.until(|daemon| daemon.alerts().len() == 1).await;
//! ```

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::aws::{Aws, Logs, python};
use crate::cloud::{BUCKET, Cloud};

pub const MARGAY: &str = env!("CARGO_BIN_EXE_margay");

/// Longer than anything takes on a busy machine; what has not happened by then never will.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder from which margay can be started again and again.
pub struct Setup {
    folder: TempDir,
    config: RefCell<String>,
    variables: Vec<(&'static str, String)>,
}

impl Setup {
    pub fn new() -> Setup {
        let setup = Setup {
            folder: tempfile::tempdir().expect("make a folder"),
            config: "[http]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n".to_owned().into(),
            variables: Vec::new(),
        };
        for name in ["rules", "bucket"] {
            fs::create_dir(setup.path(name)).expect("make a folder");
        }
        setup.configured("[rules]\ndirectories = [\"rules\"]\nreload_debounce_ms = 50\nworkers = 1\n")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds lines to the configuration file.
    pub fn configured(self, toml: &str) -> Setup {
        *self.config.borrow_mut() += toml;
        self
    }

    /// Adds a variable to the environment of everything that is started.
    pub fn with_variable(mut self, name: &'static str, value: &str) -> Setup {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Writes another configuration file, which a running daemon sees; gives back the former one.
    pub fn reconfigure(&self, toml: &str) -> String {
        let former = self.config.replace(toml.to_owned());
        self.write_config();
        former
    }

    /// The text of the configuration file.
    pub fn config(&self) -> String {
        self.config.borrow().clone()
    }

    /// Put there whole, and left alone when it is the same: a daemon may be watching.
    fn write_config(&self) {
        let (path, text) = (self.path("margay.toml"), self.config());
        if fs::read_to_string(&path).is_ok_and(|written| written == text) {
            return;
        }
        let partial = self.path("margay.toml.partial");
        fs::write(&partial, text).expect("write the configuration");
        fs::rename(partial, path).expect("move the configuration");
    }

    /// Adds a rule over Okta's system log: the text of its Python file.
    pub fn rule(self, id: &str, python: &str) -> Setup {
        self.write_rule(id, python);
        self
    }

    pub fn write_rule(&self, id: &str, python: &str) {
        self.write_rule_over("Okta.SystemLog", id, python);
    }

    pub fn write_rule_over(&self, log_type: &str, id: &str, python: &str) {
        let yaml = format!(
            "AnalysisType: rule\nRuleID: {id}\nEnabled: true\nFilename: {id}.py\nSeverity: Medium\n\
             LogTypes: [{log_type}]\nDedupPeriodMinutes: 60\nThreshold: 1\n"
        );
        fs::write(self.path("rules").join(format!("{id}.py")), python).expect("write a rule");
        fs::write(self.path("rules").join(format!("{id}.yml")), yaml).expect("write a rule");
    }

    /// Files below `bucket/` are objects of the bucket `local`, all Okta's.
    pub fn watching_directory(self) -> Setup {
        self.configured(
            "[queue]\ntype = \"directory\"\n[queue.directory]\npath = \"bucket\"\nscan_interval_ms = 50\n\
             [[sources]]\nname = \"local\"\nbucket = \"local\"\nprefixes = [{ log_types = [\"Okta.SystemLog\"] }]\n",
        )
    }

    /// Notifications from the queue of `logs`, objects of its bucket, read as its role.
    pub fn reading_sqs(mut self, aws: &Aws, logs: &Logs) -> Setup {
        self.variables = aws.env();
        let Logs { bucket, queue_url, role_arn, .. } = logs;
        self.configured(&format!(
            "[fetch]\npath_style = true\n\
             [queue]\ntype = \"sqs\"\n[queue.sqs]\nurl = \"{queue_url}\"\nvisibility_timeout_seconds = 30\nwait_seconds = 1\n\
             [[sources]]\nname = \"remote\"\nbucket = \"{bucket}\"\nrole_arn = \"{role_arn}\"\nexternal_id = \"secret-id\"\n\
             prefixes = [{{ log_types = [\"Okta.SystemLog\"] }}]\n",
        ))
    }

    /// Notifications from the queue of `cloud`, and objects of its bucket, read as its role. A lease is longer than any
    /// delay and any story, so that a message comes back because it was handed back or the story says so.
    pub fn reading_cloud(mut self, cloud: &Cloud) -> Setup {
        self.variables = cloud.env();
        let (queue_url, role_arn) = (cloud.queue_url(), cloud.role_arn());
        self.configured(&format!(
            "[fetch]\npath_style = true\n\
             [queue]\ntype = \"sqs\"\n[queue.sqs]\nurl = \"{queue_url}\"\n\
             visibility_timeout_seconds = 1000\nwait_seconds = 1\n\
             [[sources]]\nname = \"remote\"\nbucket = \"{BUCKET}\"\nrole_arn = \"{role_arn}\"\n\
             prefixes = [{{ log_types = [\"Okta.SystemLog\"] }}]\n",
        ))
    }

    /// A file of the bucket, put there whole.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path("bucket").join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("make a folder");
        let partial = self.path("incoming");
        fs::write(&partial, bytes).expect("write a file");
        fs::rename(partial, path).expect("move a file");
    }

    /// Runs a command to its end.
    pub fn margay(&self, arguments: &[&str]) -> Output {
        self.write_config();
        let mut command = Command::new(MARGAY);
        command.args(arguments).current_dir(self.folder.path()).env_clear().envs(self.variables.clone());
        command.output().expect("run margay")
    }

    /// Alerts in the state store but for those about margay itself, newest first.
    pub fn alerts(&self) -> Vec<Value> {
        let output =
            self.margay(&["alerts", "list", "--config", "margay.toml", "--format", "jsonl", "--limit", "10000"]);
        let text = String::from_utf8(output.stdout).expect("alerts are UTF-8");
        let alerts = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("an alert is JSON"));
        alerts.filter(|alert| alert["type"] != "SYSTEM_ERROR").collect()
    }

    /// How often each rule's alerts were counted up, by title.
    pub fn counts(&self) -> std::collections::BTreeMap<String, u64> {
        let mut counts = std::collections::BTreeMap::new();
        for alert in self.alerts() {
            let title = alert["title"].as_str().expect("an alert has a title").to_owned();
            *counts.entry(title).or_default() += alert["eventCount"].as_u64().expect("an alert has a count");
        }
        counts
    }

    pub async fn start(&self) -> Daemon<'_> {
        tokio::task::block_in_place(|| Daemon::start(self))
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon<'a> {
    setup: &'a Setup,
    child: Child,
    address: String,
    printed: mpsc::Receiver<String>,
}

impl<'a> Daemon<'a> {
    fn start(setup: &'a Setup) -> Daemon<'a> {
        setup.write_config();
        let mut child = Command::new(MARGAY)
            .args(["run", "--config", "margay.toml"])
            .current_dir(setup.folder.path())
            .env_clear()
            .envs(setup.variables.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start margay");
        let printed = lines_of(child.stdout.take().expect("it is piped"));
        let logged = lines_of(child.stderr.take().expect("it is piped"));
        let address = address(&logged);
        // What it says later is only of use to a person who reads a failure.
        std::thread::spawn(move || logged.into_iter().for_each(|line| eprintln!("{line}")));
        let daemon = Daemon { setup, child, address, printed };
        daemon.until_blocking(PATIENCE, |daemon| daemon.get("/readyz").starts_with("HTTP/1.1 200"));
        daemon
    }

    /// Waits until something holds.
    pub async fn until(&self, holds: impl Fn(&Daemon<'a>) -> bool) {
        self.until_within(PATIENCE, holds).await;
    }

    /// The same, for what takes long.
    pub async fn until_within(&self, patience: Duration, holds: impl Fn(&Daemon<'a>) -> bool) {
        tokio::task::block_in_place(|| self.until_blocking(patience, holds));
    }

    #[track_caller]
    fn until_blocking(&self, patience: Duration, holds: impl Fn(&Daemon<'a>) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < patience, "it did not happen; counts are {:?}", self.setup.counts());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Answer to a GET, head and body.
    pub fn get(&self, path: &str) -> String {
        let mut connection = TcpStream::connect(&self.address).expect("connect to the daemon");
        write!(connection, "GET {path} HTTP/1.1\r\nHost: margay\r\nConnection: close\r\n\r\n").expect("ask the daemon");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("read the daemon's answer");
        answer
    }

    /// Status and body of the answer to a request of the API.
    pub fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(&self.address).expect("connect to the daemon");
        write!(
            connection,
            "{method} {path} HTTP/1.0\r\nHost: margay\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("ask the daemon");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("read the daemon's answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        (status.expect("an answer has a status"), body.to_owned())
    }

    /// The metrics as Prometheus' own parser reads them: `name{label="value"}` with labels sorted, and the value.
    pub fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        Metrics(python::evaluate(PARSE_METRICS, body))
    }

    /// Lines that it has printed on standard output so far.
    pub fn printed(&self) -> Vec<String> {
        self.printed.try_iter().collect()
    }

    /// Runs a command that asks this daemon, whose port is another one at every start.
    pub fn margay_beside(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(MARGAY);
        command.args(arguments).current_dir(self.setup.folder.path()).env_clear().envs(self.setup.variables.clone());
        command.env("MARGAY_HTTP__LISTEN", &self.address).output().expect("run margay")
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("run kill").success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the daemon") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The most memory that it has held so far, in bytes; its rule workers not counted.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("read /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") * 1024
    }

    /// Process ids of its rule workers.
    pub fn workers(&self) -> Vec<u32> {
        let own = self.child.id();
        let all = fs::read_dir("/proc").expect("read /proc").flatten();
        let of = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
            parent == Some(own)
        };
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(of).collect()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // It may have ended by itself, which is what some tests wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::ops::Deref for Daemon<'_> {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        self.setup
    }
}

/// Parsed samples.
pub struct Metrics(Value);

impl Metrics {
    /// The value of a sample; 0 when there is none.
    pub fn get(&self, sample: &str) -> f64 {
        self.0[sample].as_f64().unwrap_or(0.0)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.as_object().expect("samples by name").keys().map(String::as_str)
    }
}

const PARSE_METRICS: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families
samples = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    assert family.type in ("counter", "gauge", "histogram"), (family.name, family.type)
    for sample in family.samples:
        labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
        key = sample.name + ("{" + labels + "}" if labels else "")
        assert key not in samples, key
        samples[key] = sample.value if sample.value == sample.value and abs(sample.value) != float("inf") else None
print(json.dumps(samples))
"#;

fn lines_of(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Where the daemon listens, which it says in its log.
fn address(logged: &mpsc::Receiver<String>) -> String {
    let mut said = String::new();
    while let Ok(line) = logged.recv_timeout(PATIENCE) {
        let address = serde_json::from_str::<Value>(&line).ok().and_then(|line| {
            let address = line.get("address").or_else(|| line.get("fields")?.get("address"))?;
            address.as_str().map(str::to_owned)
        });
        match address {
            Some(address) => return address,
            None => said += &format!("{line}\n"),
        }
    }
    panic!("the daemon did not start:\n{said}");
}

/// `path` of this repository.
pub fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
