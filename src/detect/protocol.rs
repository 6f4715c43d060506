//! What the daemon and a rule worker say to each other over the worker's standard input and output.
//!
//! A frame is a length (4 bytes, little endian, bounded) and that many bytes of JSON. The daemon speaks first; a worker
//! answers each request with exactly one final reply, before which [`Reply::Alive`], [`Reply::Loading`],
//! [`Reply::Calling`], [`Reply::KeyValue`], [`Reply::Lookup`] and [`Reply::Outcomes`] may come. Events cross as the JSON text they are, not parsed on the way. Both ends are the same binary, so [`VERSION`]
//! only catches a binary that was replaced under a running daemon.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::declared::Declared;
use crate::model::key_value::{Answer, Call, Refusal};

pub const VERSION: u32 = 4;

/// Above this a request is refused by both ends. A batch is cut well below it.
pub const REQUEST_LIMIT: usize = 256 * 1024 * 1024;

/// Above this a reply is refused by both ends. The largest are the faults of a rule set in which nothing loads.
pub const REPLY_LIMIT: usize = 64 * 1024 * 1024;

/// Calls of the key-value store that a rule may make on one event, in all of its functions.
pub const MOST_CALLS: u32 = 100;

/// Of what these calls say and are told.
pub const MOST_CALLS_BYTES: usize = 4 * 1024 * 1024;

/// Rows of lookup tables that a rule may ask for on one event, in all of its functions.
pub const MOST_LOOKUPS: u32 = 1000;

/// Of what it asks and of the rows that it is given.
pub const MOST_LOOKUP_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First frame to every worker.
    Hello { version: u32, call_timeout_ms: u64 },
    /// Second frame: everything to import. A worker loads once in its life; a new rule set gets new workers.
    Load(Arc<Sources>),
    /// Production mode over a batch.
    Evaluate {
        /// Announce each call with [`Reply::Calling`] before it is made, so that a crash names its cause.
        careful: bool,
        calls: Arc<Vec<EventCalls>>,
    },
    /// Test mode: one rule, one event, all functions.
    Test {
        rule: u32,
        event: Box<RawValue>,
        mocks: Vec<Mock>,
        /// Say with [`Reply::Step`] what happens as it happens, and give faults with their whole traceback.
        #[serde(default)]
        watched: bool,
    },
    /// Answer to [`Reply::KeyValue`].
    KeyValue { answer: Result<Answer, Refusal> },
    /// Answer to [`Reply::Lookup`].
    Looked(Looked),
}

/// What a lookup table says about a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Looked {
    /// The JSON object that the row is.
    Row(Box<RawValue>),
    /// The table has none.
    Nothing,
    /// There is such a table, and its rows are not here: why.
    Elsewhere(String),
    /// There is no such table, or it can't be read: why.
    NoTable(String),
}

/// The Python sources of a rule set.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    /// Importable by name from everything else.
    pub globals: Vec<ModuleSource>,
    /// Rules are named by their index in this list from here on.
    pub rules: Vec<RuleSource>,
    pub data_models: Vec<DataModelSource>,
}

impl Sources {
    pub fn has(&self, place: Place) -> bool {
        let (list, at) = match place {
            Place::Global(at) => (self.globals.len(), at),
            Place::Rule(at) => (self.rules.len(), at),
            Place::DataModel(at) => (self.data_models.len(), at),
        };
        (at as usize) < list
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleSource {
    /// Name in `import` statements.
    pub name: String,
    /// File name for tracebacks.
    pub file: String,
    pub source: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleSource {
    pub id: String,
    pub module: ModuleSource,
    /// What the YAML says beside the Python, or in its place.
    #[serde(default, skip_serializing_if = "Declared::is_empty")]
    pub declared: Declared,
    /// `rule(event)` of a rule, `policy(resource)` of a policy; a scheduled rule may leave `rule` out.
    pub kind: RuleKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    Rule,
    ScheduledRule,
    Policy,
}

impl RuleKind {
    /// As `AnalysisType` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleKind::Rule => "rule",
            RuleKind::ScheduledRule => "scheduled_rule",
            RuleKind::Policy => "policy",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataModelSource {
    pub id: String,
    pub log_type: String,
    /// Present when a mapping names a method.
    pub module: Option<ModuleSource>,
    pub mappings: Vec<Mapping>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    pub name: String,
    pub target: MappingTarget,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappingTarget {
    /// A field name or a JSONPath.
    Path(String),
    /// A function of the model's module.
    Method(String),
}

/// One event and the rules to run on it, by index, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct EventCalls {
    pub rules: Vec<u32>,
    /// Of these, the ones that are known to match: only the functions after `rule` are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matching: Vec<u32>,
    pub event: Box<RawValue>,
}

/// Replaces an attribute of the rule module by a callable that returns `return_value`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mock {
    pub object_name: String,
    pub return_value: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Answer to `Hello`. `unwalled` is why the kernel does not keep the process from system calls, where it does not.
    Ready { version: u32, unwalled: Option<String> },
    /// Before each module that `Load` runs, so that one that ends the process is known.
    Loading { place: Place },
    /// Answer to `Load`: what did not import. The rest is loaded.
    Loaded { faults: Vec<LoadFault> },
    /// In careful mode, before each call: positions in `calls` and in the list of rules of the rule set.
    Calling { event: u32, rule: u32 },
    /// A rule asks for what it keeps between events; the worker waits for [`Request::KeyValue`]. Position in `calls`, and rule.
    KeyValue { event: u32, rule: u32, call: Call },
    /// A rule asks for a row of a lookup table; the worker waits for [`Request::Looked`].
    Lookup { event: u32, rule: u32, table: String, key: String },
    /// Sent by the watchdog thread every second while the worker is busy. `steps` grows with each call and each module that
    /// is begun or ended: a worker in which it stands still is stuck, whatever else it says.
    Alive { steps: u64 },
    /// A call overran its time. Sent by the watchdog thread; the worker exits after it, and its batch has no other reply.
    Overrun { event: u32, rule: u32, function: String },
    /// A rule changed what all rules share; in careful mode with the call that did it. Nothing that was evaluated since the
    /// last part of the answer is worth anything. The worker exits after it.
    Tampered { call: Option<(u32, u32)>, what: String },
    /// Importing a module overran its time, which is ten times that of a call but at least ten seconds. Sent by the
    /// watchdog thread; the worker exits after it, and `Load` has no other reply.
    LoadOverrun { place: Place },
    /// A part of the answer to `Evaluate`, so that no frame grows with the batch: only rules that matched or whose
    /// `rule` function failed. All calls of the events before `through` are done. `spent` is what the calls since the last
    /// part cost, by rule.
    Outcomes {
        through: u32,
        outcomes: Vec<Outcome>,
        #[serde(default)]
        spent: Vec<Spent>,
    },
    /// The end of the answer to `Evaluate`, and how long it was worked on, from the request being understood.
    Evaluated { busy_ns: u64 },
    /// In a watched test, before the answer: what the rule does just now.
    Step(Step),
    /// Answer to `Test`.
    Tested(Box<Functions>),
}

impl Reply {
    /// Its kind, without its contents.
    pub fn name(&self) -> &'static str {
        match self {
            Reply::Ready { .. } => "ready",
            Reply::Loaded { .. } => "loaded",
            Reply::Calling { .. } => "calling",
            Reply::KeyValue { .. } => "key_value",
            Reply::Lookup { .. } => "lookup",
            Reply::Alive { .. } => "alive",
            Reply::Loading { .. } => "loading",
            Reply::Tampered { .. } => "tampered",
            Reply::Overrun { .. } => "overrun",
            Reply::LoadOverrun { .. } => "load_overrun",
            Reply::Outcomes { .. } => "outcomes",
            Reply::Evaluated { .. } => "evaluated",
            Reply::Step(_) => "step",
            Reply::Tested(_) => "tested",
        }
    }
}

/// A module that could not be imported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadFault {
    pub place: Place,
    pub fault: Fault,
    /// Line of the module's own file, where known.
    pub line: Option<u32>,
}

/// Which of the [`Sources`] a fault is about, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Global(u32),
    Rule(u32),
    DataModel(u32),
}

/// What one rule said about one event of a batch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Position in `calls`.
    pub event: u32,
    pub rule: u32,
    pub functions: Functions,
}

/// What the calls of one rule cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    pub rule: u32,
    pub calls: u64,
    /// Of all of them together, everything that runs for a match included.
    pub nanos: u64,
    /// Of the longest.
    pub longest_nanos: u64,
    /// What they waited for the daemon, which is in none of the others.
    pub waited_nanos: u64,
}

impl Spent {
    pub fn add_to(&self, rules: &mut BTreeMap<u32, Spent>) {
        let sum = rules.entry(self.rule).or_insert(Spent { rule: self.rule, ..Spent::default() });
        sum.waited_nanos = sum.waited_nanos.saturating_add(self.waited_nanos);
        sum.calls = sum.calls.saturating_add(self.calls);
        sum.nanos = sum.nanos.saturating_add(self.nanos);
        sum.longest_nanos = sum.longest_nanos.max(self.longest_nanos);
    }
}

/// What a rule does in a watched test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// This function is called next.
    Calling(String),
    /// The rule printed this.
    Printed(String),
}

/// Results of a rule's functions. A function is absent when it is not defined, was not run, or failed; a failed one stands in
/// `faults`. Strings are already shortened to their limit, with the suffix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Functions {
    pub rule: Option<bool>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub reference: Option<String>,
    /// Upper case; one of the five severities or `DEFAULT`.
    pub severity: Option<String>,
    pub runbook: Option<String>,
    pub destinations: Option<Vec<String>>,
    pub dedup: Option<String>,
    /// JSON text of an object.
    pub alert_context: Option<String>,
    pub unique: Option<String>,
    /// By function name.
    pub faults: BTreeMap<String, Fault>,
    /// What the rule printed, bounded.
    pub output: String,
}

/// What the functions of a rule are called.
pub const FUNCTION_NAMES: [&str; 11] = [
    "rule",
    "policy",
    "title",
    "description",
    "reference",
    "severity",
    "runbook",
    "destinations",
    "dedup",
    "alert_context",
    "unique",
];

impl Functions {
    /// Whether a worker can have made this of the results of a rule: it names functions and has kept to the limits of texts.
    pub fn is_plausible(&self) -> bool {
        /// Far above what all limits together come to, a traceback included.
        const MOST_BYTES: usize = 4 * 1024 * 1024;
        self.size() <= MOST_BYTES && self.faults.keys().all(|function| FUNCTION_NAMES.contains(&function.as_str()))
    }

    /// About how many bytes this takes in a frame.
    pub fn size(&self) -> usize {
        let texts = [
            &self.title,
            &self.description,
            &self.reference,
            &self.runbook,
            &self.dedup,
            &self.alert_context,
            &self.unique,
            &self.severity,
        ];
        let faults = self.faults.values().map(Fault::size);
        let destinations: usize = self.destinations.iter().flatten().map(String::len).sum();
        200 + self.output.len()
            + destinations
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
            + faults.sum::<usize>()
    }
}

/// An exception, a wrong return type, or a limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Class name.
    pub error_type: String,
    /// `repr` of the exception.
    pub short_error: String,
    /// `<str>: <file>.py, line N, in <function>    <source line>`.
    pub message: String,
    /// Every frame, as Python shows it; only of a watched test.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub traceback: String,
}

impl Fault {
    fn size(&self) -> usize {
        self.error_type.len() + self.short_error.len() + self.message.len() + self.traceback.len()
    }
}

/// Of the worker's end, as is [`read_frame`].
pub fn write_frame<T: Serialize>(to: &mut impl Write, frame: &T) -> io::Result<()> {
    let body = serde_json::to_vec(frame)?;
    if body.len() > REPLY_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {} bytes is too large", body.len()),
        ));
    }
    to.write_all(&(body.len() as u32).to_le_bytes())?;
    to.write_all(&body)?;
    to.flush()
}

/// The next frame's bytes; `None` at the end of the stream between two frames.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read(&mut length)? {
        0 => return Ok(None),
        n => from.read_exact(&mut length[n..])?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > REQUEST_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame announces {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_pipe_with_its_event_text_untouched() {
        let event = r#"{"b":1.50,"a":"é"}"#;
        let calls = vec![EventCalls {
            rules: vec![3, 1],
            matching: vec![1],
            event: RawValue::from_string(event.into()).unwrap(),
        }];
        let mut pipe = Vec::new();
        write_frame(&mut pipe, &Request::Evaluate { careful: false, calls: calls.into() }).unwrap();

        let mut pipe = pipe.as_slice();
        let body = read_frame(&mut pipe).unwrap().unwrap();
        let Request::Evaluate { calls, .. } = serde_json::from_slice(&body).unwrap() else { panic!("evaluate") };
        assert_eq!((calls[0].event.get(), calls[0].rules.as_slice()), (event, [3, 1].as_slice()));
        assert!(read_frame(&mut pipe).unwrap().is_none());
    }

    #[test]
    fn a_cut_or_oversized_frame_is_an_error() {
        assert!(read_frame(&mut [1, 0].as_slice()).is_err());
        assert!(read_frame(&mut [9, 0, 0, 0, b'{'].as_slice()).is_err());
        assert!(read_frame(&mut u32::MAX.to_le_bytes().as_slice()).is_err());
    }
}
