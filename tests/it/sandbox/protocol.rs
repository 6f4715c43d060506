//! What is said over the pipe of a worker when one of the two ends misbehaves.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{World, batch, event, matches};
use crate::daemon::MARGAY;

/// A stand-in for a worker: the first speaks well until it is asked to evaluate, then does `MISCHIEF`; each later one
/// is the real thing.
const FAKE: &str = r#"
import json, os, struct, sys, time
try:
    os.mkdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "was_here"))
except FileExistsError:
    os.execv("MARGAY", ["margay", *sys.argv[1:]])
out = sys.stdout.buffer

def hear():
    length, = struct.unpack("<I", sys.stdin.buffer.read(4))
    return json.loads(sys.stdin.buffer.read(length))

def say(reply):
    body = json.dumps(reply).encode()
    out.write(struct.pack("<I", len(body)) + body)
    out.flush()

hear()
say({"ready": {"version": 4, "unwalled": None}})
hear()
say({"loaded": {"faults": []}})
hear()
MISCHIEF
out.flush()
sys.stdin.buffer.read()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_talks_nonsense_is_replaced_and_its_batch_is_evaluated() {
    for mischief in [
        "out.write(b'garbage, and a lot of it' * 100)",
        r"out.write(b'\xff\xff\xff\xff')",
        r"out.write(b'\x10\x00\x00\x00half'); out.flush(); sys.exit(0)",
        "sys.exit(3)",
        "say('evaluated_not')",
        "say({'tested': {}})",
        "say({'outcomes': {'through': 99, 'outcomes': []}})",
        "say({'outcomes': {'through': 1, 'outcomes': [{'event': 7, 'rule': 0, 'functions': {}}]}})",
        "while True: say({'outcomes': {'through': 0, 'outcomes': [{'event': 0, 'rule': 0, 'functions': {}}]}})",
        "say({'overrun': {'event': 0, 'rule': 77, 'function': 'rule'}})",
        "say({'outcomes': {'through': 1, 'outcomes': [], 'spent': [{'rule': 77, 'calls': 1, 'nanos': 1, 'longest_nanos': 1}]}})",
        "say({'step': {'printed': 'hello'}})",
        "say({'key_value': {'event': 0, 'rule': 77, 'call': {'key': 'k', 'operation': 'get_counter'}}})",
        "say({'key_value': {'event': 0, 'rule': 0, 'call': {'key': 'k', 'operation': 'drop_table'}}})",
        "say({'lookup': {'event': 0, 'rule': 77, 'table': 't', 'key': 'k'}})",
        "say({'calling': {'event': 0, 'rule': 0}})",
        "while True: say({'outcomes': {'through': 0, 'outcomes': []}})",
        "say({'alive': {'steps': 9}}); say({'alive': {'steps': 8}})",
        "for steps in range(1000000): say({'alive': {'steps': steps}})",
        "sys.stdout.close(); os.close(1); time.sleep(1000)",
        "sys.stderr.write('last words\\x1b[31m\\n' * 10000); sys.exit(9)",
    ] {
        let world = World::new().rule("Quiet", "def rule(event):\n    return True\n");
        let program = world.program("fake", &FAKE.replace("MARGAY", MARGAY).replace("MISCHIEF", mischief));
        let (engine, _) = world.start_as(program).await.unwrap();
        let found = engine.evaluate(&batch(vec![event("Quiet", 0, "{}")])).await.unwrap();
        assert_eq!((matches(&found, "Witness"), matches(&found, "Quiet"), found.faults.len()), (1, 1, 0), "{mischief}");
        assert_eq!(world.metric(r#"margay_rule_worker_restarts_total{reason="crash"}"#), 1, "{mischief}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_nothing_is_given_up() {
    let world = World::new().rule("Quiet", "def rule(event):\n    return True\n");
    let program = world.program("silent", "import time\ntime.sleep(1000)\n");
    let error = world.start_as(program).await.err().unwrap().to_string();
    assert!(error.contains("no sign of life for 30s"), "{error}");
}

#[test]
fn a_worker_ends_when_its_daemon_talks_nonsense() {
    for (said, goes_away, status) in [
        (&b""[..], true, 0),
        (b"\x05\x00", true, 65),
        (b"\x05\x00\x00\x00{", true, 65),
        (b"\xff\xff\xff\xff", false, 65),
        (b"\x04\x00\x00\x00none", false, 65),
        (b"\x02\x00\x00\x00{}", false, 65),
    ] {
        let mut worker = Command::new(MARGAY)
            .args(["rule-worker", "--memory-mib", "1024"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = worker.stdin.take().unwrap();
        input.write_all(said).unwrap();
        let held = (!goes_away).then_some(input);
        let ended = worker.wait_with_output().unwrap();
        drop(held);
        assert_eq!(ended.status.code(), Some(status), "{said:?}");
        assert_eq!(ended.stderr.is_empty(), status == 0, "{said:?}");
    }
}
