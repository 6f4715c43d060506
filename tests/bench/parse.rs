//! `cargo bench --bench parse`: how fast records become typed events, on one core, with the fastest JSON parser beside it:
//! what it takes to only parse the same bytes, into its tree, with all text checked and unescaped.
//!
//! The time is that of the core, each number is the best of several runs, and what is compared runs in turns: machines are
//! noisy.

mod records;

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use margay::logtype::{Classified, Classifier, Context, Registry, Schema};
use margay::model::{Event, ObjectId, Record};
use nix::time::{ClockId, clock_gettime};
use records::{ALB_FASTMATCH, FLOW_FIELDS, FLOW_HEADER, FLOW_NAMES};
use time::macros::datetime;

const RECORDS: usize = 4000;
const RUNS: usize = 20;

/// What a source of several AWS logs may have as its candidates.
const CANDIDATES: [&str; 4] = ["AWS.VPCDns", "AWS.GuardDuty", "AWS.WAFWebACL", "AWS.CloudTrail"];

/// A log type, or several as a source may have them, and records of them.
struct Subject {
    name: &'static str,
    schemas: Vec<Arc<Schema>>,
    texts: Vec<String>,
    is_json: bool,
}

fn main() -> std::io::Result<()> {
    let subjects = subjects();
    // Memory is measured in a process of its own, where nothing lies that was freed before.
    if let Some(name) = std::env::args().nth(1).filter(|name| !name.starts_with("--")) {
        let subject = subjects.iter().find(|subject| subject.name == name).expect("a subject of the benchmark");
        return writeln!(std::io::stdout(), "{}", held(subject));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<28}{:>11}{:>8}{:>8}{:>20}", "", "only parsed", "MB/s", "of that", "bytes held by event")?;
    for subject in &subjects {
        let Subject { name, schemas, texts, is_json } = subject;
        let records = as_records(texts);
        let mut parse =
            || records.iter().filter(|_| *is_json).for_each(|record| drop(black_box(parsed(&record.bytes))));
        let [baseline, ours] = rates(texts, [&mut parse, &mut || events(schemas, &records)]);
        let baseline = if *is_json {
            format!("{baseline:.0}{ours:>8.0}{:>8.2}", ours / baseline)
        } else {
            format!("{ours:>8.0}{:>8}", "")
        };
        let held = std::process::Command::new(std::env::current_exe()?).arg(name).output()?;
        let bytes = texts.iter().map(String::len).sum::<usize>() / texts.len();
        writeln!(
            out,
            "{name:<28}{baseline:>27}{:>20}",
            format!("{} of {bytes}", String::from_utf8_lossy(&held.stdout).trim())
        )?;
    }
    Ok(())
}

fn subjects() -> Vec<Subject> {
    let registry = Registry::built_in();
    let built_in = |name: &str| registry.get(name).expect("it is built in").clone();
    let json = |name, schemas, make: fn(usize) -> String| Subject {
        name,
        schemas,
        texts: (0..RECORDS).map(make).collect(),
        is_json: true,
    };
    let mixed = |n| if n % 8 == 7 { records::finding(n) } else { records::trail(n) };
    let mut subjects = vec![
        json("AWS.CloudTrail", vec![built_in("AWS.CloudTrail")], records::trail),
        json("Okta.SystemLog", vec![built_in("Okta.SystemLog")], records::okta),
        json("AWS.GuardDuty", vec![built_in("AWS.GuardDuty")], records::finding),
        json("four candidates, CloudTrail", CANDIDATES.map(built_in).into(), records::trail),
        json("four candidates, mixed", CANDIDATES.map(built_in).into(), mixed),
    ];
    let flow = |parser: &str| schema(&format!("version: 0\nparser: {parser}\nfields:\n{FLOW_FIELDS}"));
    let names = FLOW_NAMES.split(' ').collect::<Vec<_>>();
    let placeholders =
        |write: &dyn Fn(&str) -> String| names.iter().map(|name| write(name)).collect::<Vec<_>>().join(" ");
    let fastmatch = format!("{{fastmatch: {{match: ['{}']}}}}", placeholders(&|name| format!("%{{{name}}}")));
    let regex = format!("{{regex: {{match: ['^{}$']}}}}", placeholders(&|name| format!("(?P<{name}>[^ ]+)")));
    let csv = format!("{{csv: {{delimiter: ' ', columns: [{}]}}}}", names.join(", "));
    let flows: Vec<String> = (0..RECORDS).map(records::flow_line).collect();
    let with_header: Vec<String> = std::iter::once(FLOW_HEADER.to_owned()).chain(flows.iter().cloned()).collect();
    let alb: Vec<String> = (0..RECORDS).map(records::alb).collect();
    let text = [
        ("VPC flow, native", built_in("AWS.VPCFlow"), &with_header),
        ("VPC flow, fastmatch", flow(&fastmatch), &flows),
        ("VPC flow, csv", flow(&csv), &flows),
        ("VPC flow, regex", flow(&regex), &flows),
        ("ALB, native", built_in("AWS.ALB"), &alb),
        ("ALB, fastmatch", schema(ALB_FASTMATCH), &alb),
    ];
    let text =
        text.map(|(name, schema, texts)| Subject { name, schemas: vec![schema], texts: texts.clone(), is_json: false });
    subjects.extend(text);
    subjects
}

fn schema(yaml: &str) -> Arc<Schema> {
    let schema = Schema::from_yaml(yaml, "bench", Some("Custom.Bench"));
    Arc::new(schema.unwrap_or_else(|errors| panic!("{}", errors[0])))
}

fn as_records(texts: &[String]) -> Vec<Record> {
    let record = |(ordinal, text): (usize, &String)| Record {
        ordinal: ordinal as u64,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        origin: None,
    };
    texts.iter().enumerate().map(record).collect()
}

fn parsed(record: &[u8]) -> sonic_rs::Value {
    sonic_rs::from_slice(record).expect("it is JSON")
}

/// From bytes to events with all their standard fields, which are dropped at once.
fn events(schemas: &[Arc<Schema>], records: &[Record]) {
    each_event(schemas, records, |events| drop(black_box(events)));
}

fn each_event(schemas: &[Arc<Schema>], records: &[Record], mut take: impl FnMut(Vec<Event>)) {
    let context = Context {
        object: ObjectId([7; 16]),
        address: Some("bucket/key".into()),
        source: "bench".into(),
        parse_time: datetime!(2026-02-01 0:00 UTC),
        keep_unknown: true,
        guard_event_time: true,
    };
    let mut classifier = Classifier::with_schemas(schemas.to_vec(), context);
    for record in records {
        match classifier.classify(record) {
            Classified::Events(events) => take(events),
            other => panic!("{other:?}"),
        }
    }
}

/// Bytes of memory that an event takes until the lake has written it, with what the allocator needs for it.
fn held(Subject { schemas, texts, .. }: &Subject) -> usize {
    const ROUNDS: usize = 10;
    let records = as_records(texts);
    let mut kept: Vec<Event> = Vec::with_capacity(records.len() * ROUNDS);
    let before = resident();
    (0..ROUNDS).for_each(|_| each_event(schemas, &records, |events| kept.extend(events)));
    (resident() - before) / kept.len()
}

/// Bytes of memory of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second number is the resident set") * 4096
}

/// Megabytes of the texts in a second, for each of the works.
fn rates<const N: usize>(texts: &[String], mut works: [&mut dyn FnMut(); N]) -> [f64; N] {
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut best = [Duration::MAX; N];
    for _ in 0..RUNS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let started = core_time();
            work();
            *best = (*best).min(core_time() - started);
        }
    }
    best.map(|best| bytes as f64 / 1e6 / best.as_secs_f64())
}

/// What this thread has had of a core.
fn core_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has this clock").into()
}
