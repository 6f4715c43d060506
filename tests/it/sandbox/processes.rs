//! A worker as the operating system sees it.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::{World, batch, event, matches};
use crate::daemon::{MARGAY, Setup};
use crate::events::login;

#[test]
fn a_worker_has_nothing_but_its_pipes() {
    // A shell leaves a descriptor and a variable behind, as whatever starts a daemon may do.
    let mut worker = Command::new("sh")
        .args(["-c", "exec 7</dev/null; exec \"$0\" rule-worker --memory-mib 1024", MARGAY])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let hello = br#"{"hello":{"version":4,"call_timeout_ms":1000}}"#;
    let input = worker.stdin.as_mut().unwrap();
    input.write_all(&(hello.len() as u32).to_le_bytes()).unwrap();
    input.write_all(hello).unwrap();
    let mut length = [0; 4];
    let output = worker.stdout.as_mut().unwrap();
    output.read_exact(&mut length).unwrap();
    let mut ready = vec![0; u32::from_le_bytes(length) as usize];
    output.read_exact(&mut ready).unwrap();
    assert_eq!(String::from_utf8(ready).unwrap(), r#"{"ready":{"version":4,"unwalled":null}}"#);

    let of = |name: &str| format!("/proc/{}/{name}", worker.id());
    let mut descriptors: Vec<_> =
        fs::read_dir(of("fd")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    descriptors.sort();
    assert_eq!(descriptors, ["0", "1", "2"]);
    let status = fs::read_to_string(of("status")).unwrap();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.lines().any(|found| found == line), "{line} in {status}");
    }
    let limits = fs::read_to_string(of("limits")).unwrap();
    for (limit, most) in [
        ("Max open files", "3"),
        ("Max processes", "0"),
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max address space", "1073741824"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(limit)).unwrap();
        let set: Vec<&str> = line[limit.len()..].split_whitespace().take(2).collect();
        assert_eq!(set, [most, most], "{limit}");
    }
    drop(worker.stdin.take());
    assert!(worker.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_die_with_a_daemon_that_is_killed_even_when_they_stand_still() {
    let rule = "def rule(event):\n    return True\ndef title(event):\n    return 'seen'\n";
    let setup = Setup::new().rule("Every", rule).watching_directory();
    setup.file("a.jsonl", login());
    let mut daemon = setup.start().await;
    daemon.until(|d| d.counts().contains_key("seen")).await;
    let workers = daemon.workers();
    assert_eq!(workers.len(), 1);
    let stopped = Command::new("kill").args(["-STOP", &workers[0].to_string()]).status().unwrap();
    assert!(stopped.success());
    daemon.signal("KILL");
    daemon.ended();
    // Whoever inherits it may take its time to bury it: a dead process has no program any more.
    daemon.until(|_| fs::read_link(format!("/proc/{}/exe", workers[0])).is_err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_somebody_kills_is_replaced_and_its_batch_is_evaluated() {
    let rule = "def rule(event):\n    return True\ndef title(event):\n    return 'seen'\n";
    let setup = Setup::new().rule("Every", rule).watching_directory();
    let daemon = setup.start().await;
    let before = daemon.workers();
    let killed = Command::new("kill").args(["-KILL", &before[0].to_string()]).status().unwrap();
    assert!(killed.success());
    setup.file("a.jsonl", login());
    daemon.until(|d| d.counts().contains_key("seen")).await;
    let metrics = daemon.metrics();
    assert_eq!(metrics.get(r#"margay_rule_worker_restarts_total{reason="crash"}"#), 1.0);
    assert_eq!(metrics.get("margay_rule_worker_replacement_seconds_count"), 1.0);
    assert_eq!(setup.counts()["seen"], 1);
    let after = daemon.workers();
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
}

/// Starts the real worker where the system call that sets up a filter is refused, as in some containers.
const NO_FILTER: &str = r#"
import ctypes, os, platform, struct, sys
seccomp = {"x86_64": 317, "aarch64": 277}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, seccomp), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]

libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(steps))), 0, 0) == 0
os.execv("MARGAY", ["margay", *sys.argv[1:]])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_that_refuses_the_filter_is_told_of_and_may_be_a_reason_not_to_start() {
    let world = World::new().rule("Quiet", "def rule(event):\n    return True\n");
    let program = world.program("unfiltered", &NO_FILTER.replace("MARGAY", MARGAY));
    let (engine, report) = world.start_as(program.clone()).await.unwrap();
    let told = report.unwalled.unwrap();
    assert!(told.starts_with("the filter of system calls was refused"), "{told}");
    let found = engine.evaluate(&batch(vec![event("Quiet", 0, "{}")])).await.unwrap();
    assert_eq!((matches(&found, "Witness"), matches(&found, "Quiet")), (1, 1));

    let strict = world.configured(|config| config.require_seccomp = true);
    let error = strict.start_as(program).await.err().unwrap().to_string();
    assert!(error.contains("or set `rules.require_seccomp` to false"), "{error}");
}
