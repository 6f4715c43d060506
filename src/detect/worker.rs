//! The daemon's end of one rule worker: starts the process, speaks `protocol` with it, and notices how it ends.
//! Decides nothing about rules; `generation` does.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::course::Course;
use super::key_value::Calls;
use super::protocol::{
    self, EventCalls, FUNCTION_NAMES, Functions, LoadFault, Mock, Outcome, Place, REPLY_LIMIT, REQUEST_LIMIT, Reply,
    Request, Sources, Spent, Step,
};
use crate::model::key_value::Call;
use crate::state::StateError;

/// A busy worker's watchdog says every second that it lives. After this much silence the process is taken for stuck.
const SILENCE: Duration = Duration::from_secs(30);

/// Of what a dying worker says on its standard error.
const LAST_WORDS: u64 = 500;

/// Functions of a rule that may run on one event, `rule` or `policy` among them.
const FUNCTIONS: usize = FUNCTION_NAMES.len() - 1;

/// What a watched test tells at most: a function each, and what is printed, which is bounded in bytes and never empty.
const MOST_TOLD: usize = 1024 * 1024 + 100;

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The margay binary.
    pub program: PathBuf,
    pub memory_mib: u64,
    pub call_timeout: Duration,
    /// No worker is better than one that the kernel does not keep from system calls.
    pub require_seccomp: bool,
}

/// Why a worker gave no answer. The process is of no more use after any of these.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Both by index.
    #[error("a rule overran its time in `{function}`")]
    Overrun { event: u32, rule: u32, function: String },
    /// `calling` is what it had announced last, in careful mode.
    #[error("the rule worker died: {how}")]
    Died { calling: Option<(u32, u32)>, how: String },
    #[error("a rule changed {what}, which all rules share")]
    Tampered { event: u32, rule: u32, what: String },
    #[error("an import did not end")]
    LoadStuck { place: Place },
    #[error("an import ended its rule worker: {how}")]
    LoadDied { place: Place, how: String },
    #[error("a request of {length} bytes is more than a rule worker takes; lower `pipeline.max_record_mib`")]
    TooLarge { length: usize },
    /// It waits for an answer that nobody can give it now.
    #[error(transparent)]
    Store(StateError),
    #[error("could not start a rule worker as `{}`: {reason}", program.display())]
    Start { program: PathBuf, reason: String },
}

impl WorkerError {
    /// The same as a failure to start, whatever the process did until it was ready for its first batch.
    pub fn at_start(self, command: &WorkerCommand) -> WorkerError {
        match self {
            WorkerError::Start { .. } | WorkerError::Store(_) => self,
            other => WorkerError::Start { program: command.program.clone(), reason: other.to_string() },
        }
    }
}

/// How far a batch has come.
#[derive(Default)]
pub struct Progress {
    /// All calls of the events before this position are done.
    pub through: u32,
    pub outcomes: Vec<Outcome>,
    /// What the calls cost, by rule.
    pub spent: BTreeMap<u32, Spent>,
    /// How long the worker says that it worked on the batch; known at its end.
    pub busy: Duration,
}

/// A running worker. Dropping it kills the process.
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
    call_timeout: Duration,
    /// What it may begin and end for the request that it works on.
    steps: Steps,
    /// Why the kernel does not keep the process from system calls, where it does not.
    unwalled: Option<String>,
}

/// How often a worker says that it has begun or ended something. As each of these has its time, their number bounds that of
/// a request: a worker that only pretends to work is found out.
#[derive(Default)]
struct Steps {
    most: u64,
    /// As they were counted when the worker first said so, and last.
    first: Option<u64>,
    standing: Option<(u64, Instant)>,
    /// The last reply asked for a row of a table, which is answered at once: no patience is due for that.
    has_looked: bool,
}

impl Steps {
    /// What is wrong with so many steps.
    fn wrong(&mut self, steps: u64, patience: Duration) -> Option<&'static str> {
        let first = *self.first.get_or_insert(steps);
        match self.standing {
            Some((before, since)) if before == steps => {
                return (since.elapsed() > patience).then_some("it let a call run on");
            }
            Some((before, _)) if steps < before => return Some("it takes steps back"),
            _ => self.standing = Some((steps, Instant::now())),
        }
        match steps.checked_sub(first) {
            None => Some("it takes steps back"),
            Some(taken) => (taken > self.most).then_some("it takes more steps than it was given calls"),
        }
    }
}

impl Worker {
    pub async fn start(command: &WorkerCommand) -> Result<Worker, WorkerError> {
        let failed = |reason: String| WorkerError::Start { program: command.program.clone(), reason };
        let mut child = Command::new(&command.program)
            .arg("rule-worker")
            .arg("--memory-mib")
            .arg(command.memory_mib.to_string())
            // Rules see no environment; nothing of the daemon's secrets is there to be found.
            .env_clear()
            // Without it the machine's zone would be read from a file, and the same rule would say other things elsewhere.
            .env("TZ", "UTC0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ours are not a rule worker's to write to: what it says there is bounded and goes where its end is told.
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C on a terminal is for the daemon, which lets its batches end.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let input = child.stdin.take().expect("stdin was piped");
        let output = BufReader::new(child.stdout.take().expect("stdout was piped"));
        let errors = child.stderr.take().expect("stderr was piped");
        let call_timeout = command.call_timeout;
        let mut worker = Worker { child, input, output, errors, call_timeout, steps: Steps::default(), unwalled: None };
        let call_timeout_ms = command.call_timeout.as_millis() as u64;
        let hello = Request::Hello { version: protocol::VERSION, call_timeout_ms };
        worker.send(&hello).await.map_err(|error| error.at_start(command))?;
        match worker.reply(None).await.map_err(|error| error.at_start(command))? {
            Reply::Ready { version: protocol::VERSION, unwalled: Some(reason) } if command.require_seccomp => {
                let reason = printable(&reason);
                Err(failed(format!("{reason}; allow seccomp here, or set `rules.require_seccomp` to false")))
            }
            Reply::Ready { version: protocol::VERSION, unwalled } => {
                worker.unwalled = unwalled;
                Ok(worker)
            }
            Reply::Ready { version, .. } => Err(failed(format!(
                "it speaks version {version} of the protocol, not {}: the binary was replaced; restart the daemon",
                protocol::VERSION
            ))),
            other => Err(failed(format!("it greeted with {}", other.name()))),
        }
    }

    /// Imports everything; what failed comes back, the rest is loaded.
    pub async fn load(&mut self, sources: &Arc<Sources>) -> Result<Vec<LoadFault>, WorkerError> {
        let mut loading = None;
        // Some are run twice, when one of several has changed what they share.
        let mut modules = 2 * (sources.globals.len() + sources.rules.len() + sources.data_models.len());
        self.begin(modules);
        self.send(&Request::Load(sources.clone())).await?;
        loop {
            match self.reply(None).await {
                Ok(Reply::Loading { place }) if modules > 0 && sources.has(place) => {
                    modules -= 1;
                    loading = Some(place);
                }
                Ok(Reply::Loaded { faults }) if faults.iter().all(|fault| sources.has(fault.place)) => {
                    return Ok(one_of_each(faults));
                }
                Ok(Reply::LoadOverrun { place }) if sources.has(place) => return Err(WorkerError::LoadStuck { place }),
                Ok(other) => return Err(unexpected(&other)),
                Err(WorkerError::Died { how, .. }) if let Some(place) = loading => {
                    return Err(WorkerError::LoadDied { place, how });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Why the kernel does not keep the process from system calls, where it does not.
    pub fn unwalled(&self) -> Option<&str> {
        self.unwalled.as_deref()
    }

    /// Bytes of address space in use; `None` where the system does not tell.
    pub fn address_space(&self) -> Option<u64> {
        let told = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()?)).ok()?;
        let pages: u64 = told.split(' ').next()?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    /// Runs rules over a batch. `progress` has what came back, also when the worker dies on the way.
    pub async fn evaluate(
        &mut self,
        careful: bool,
        calls: &Arc<Vec<EventCalls>>,
        progress: &mut Progress,
        key_values: &mut Calls<'_>,
    ) -> Result<(), WorkerError> {
        let mut course = Course::new(calls, careful);
        self.begin(course.calls());
        self.send(&Request::Evaluate { careful, calls: calls.clone() }).await?;
        loop {
            match self.reply(course.calling()).await? {
                Reply::Calling { event, rule } if course.announces(event, rule) => {}
                Reply::KeyValue { event, rule, call } if course.asks(event, rule) => {
                    self.answer(event, rule, &call, key_values).await?;
                }
                Reply::Lookup { event, rule, table, key } if course.asks(event, rule) => {
                    let looked = key_values.look_up(event, rule, &table, &key)?;
                    self.steps.has_looked = true;
                    self.send(&Request::Looked(looked)).await?;
                }
                Reply::Overrun { event, rule, function }
                    if course.is_asked(event, rule) && FUNCTION_NAMES.contains(&function.as_str()) =>
                {
                    return Err(WorkerError::Overrun { event, rule, function });
                }
                Reply::Tampered { call: Some((event, rule)), what } if course.is_asked(event, rule) => {
                    return Err(WorkerError::Tampered { event, rule, what: printable(&what) });
                }
                Reply::Tampered { call: None, what } => {
                    let how = format!("a rule changed {}, which all rules share", printable(&what));
                    return Err(WorkerError::Died { calling: None, how });
                }
                Reply::Outcomes { through, outcomes, spent } => {
                    if !course.goes_on(through, outcomes, &spent, progress) {
                        return Err(out_of_turn("outcomes"));
                    }
                }
                Reply::Evaluated { busy_ns } => {
                    progress.busy = Duration::from_nanos(busy_ns);
                    return Ok(());
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Runs all functions of one rule on one event. A `watcher` is told what happens, as it happens.
    pub async fn test(
        &mut self,
        rule: u32,
        event: Box<RawValue>,
        mocks: Vec<Mock>,
        key_values: &mut Calls<'_>,
        mut watcher: Option<&mut (dyn FnMut(Step) + Send)>,
    ) -> Result<Functions, WorkerError> {
        self.begin(1);
        self.send(&Request::Test { rule, event, mocks, watched: watcher.is_some() }).await?;
        let mut told = 0;
        loop {
            match (self.reply(None).await?, &mut watcher) {
                (Reply::Step(step), Some(watcher)) if told < MOST_TOLD => {
                    told += 1;
                    watcher(step);
                }
                (Reply::KeyValue { event: 0, rule: of, call }, _) if of == rule => {
                    self.answer(0, rule, &call, key_values).await?;
                }
                (Reply::Lookup { event: 0, rule: of, table, key }, _) if of == rule => {
                    let looked = key_values.look_up(0, rule, &table, &key)?;
                    self.steps.has_looked = true;
                    self.send(&Request::Looked(looked)).await?;
                }
                (Reply::Tested(functions), _) if functions.is_plausible() => return Ok(*functions),
                (Reply::Overrun { event, rule, function }, _) => {
                    return Err(WorkerError::Overrun { event, rule, function });
                }
                (Reply::Tampered { what, .. }, _) => {
                    return Err(WorkerError::Tampered { event: 0, rule, what: printable(&what) });
                }
                (other, _) => return Err(unexpected(&other)),
            }
        }
    }

    /// Tells a rule that waits what it asked for.
    async fn answer(
        &mut self,
        event: u32,
        rule: u32,
        call: &Call,
        key_values: &mut Calls<'_>,
    ) -> Result<(), WorkerError> {
        let answer = key_values.answer(event, rule, call).await?;
        self.send(&Request::KeyValue { answer }).await
    }

    async fn send(&mut self, request: &Request) -> Result<(), WorkerError> {
        let mut frame = vec![0; 4];
        serde_json::to_writer(&mut frame, request).expect("requests have string keys and write to memory");
        let length = frame.len() - 4;
        if length > REQUEST_LIMIT {
            return Err(WorkerError::TooLarge { length });
        }
        frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
        match timeout(SILENCE, self.input.write_all(&frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.died(None, error.to_string()).await),
            Err(_) => Err(self.died(None, silent()).await),
        }
    }

    /// A request with so many calls or modules follows.
    fn begin(&mut self, calls: usize) {
        // A beginning and an end each, and as many of the request before, of which the worker may speak a moment late.
        self.steps = Steps { most: 4 * FUNCTIONS as u64 * (calls as u64 + 1), ..Steps::default() };
    }

    /// The next reply that says something. `calling` is told when the worker dies instead.
    async fn reply(&mut self, calling: Option<(u32, u32)>) -> Result<Reply, WorkerError> {
        // Each reply has its own patience: while the worker waited for an answer it stood still.
        if !std::mem::take(&mut self.steps.has_looked) {
            self.steps.standing = None;
        }
        loop {
            match timeout(SILENCE, self.frame()).await {
                Err(_) => return Err(self.died(calling, silent()).await),
                Ok(Ok(Reply::Alive { steps })) => {
                    let patience = self.patience();
                    if let Some(wrong) = self.steps.wrong(steps, patience) {
                        return Err(self.died(calling, wrong.into()).await);
                    }
                }
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(how)) => return Err(self.died(calling, how).await),
            }
        }
    }

    async fn frame(&mut self) -> Result<Reply, String> {
        let length = self.output.read_u32_le().await.map_err(|error| error.to_string())? as usize;
        if length > REPLY_LIMIT {
            return Err(format!("it announced a reply of {length} bytes"));
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body).map_err(|error| format!("its reply is not understood: {error}"))
    }

    /// How long a worker may stand still in what it does. It ends by itself long before.
    fn patience(&self) -> Duration {
        self.call_timeout * FUNCTIONS as u32 * 2 + SILENCE
    }

    /// Ends the process, and tells how it ended when it had ended by itself. Waits for nothing that takes time: a successor
    /// is started after this.
    async fn died(&mut self, calling: Option<(u32, u32)>, how: String) -> WorkerError {
        // A process that is ending, as its broken pipe tells, ends as it would have. Already gone is as good as killed.
        let _ = self.child.start_kill();
        let status = match timeout(Duration::from_secs(1), self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "killed".to_owned(),
        };
        let mut said = Vec::new();
        let words = (&mut self.errors).take(LAST_WORDS);
        // The words of a process that is killed may be cut; without any, its status says enough.
        let _ = timeout(Duration::from_secs(1), { words }.read_to_end(&mut said)).await;
        let said = printable(&String::from_utf8_lossy(&said));
        let words = if said.is_empty() { String::new() } else { format!(": {said}") };
        WorkerError::Died { calling, how: format!("{how} ({status}){words}") }
    }
}

/// What a worker said, as one line that a log can hold.
fn printable(said: &str) -> String {
    let visible = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(LAST_WORDS as usize).collect::<String>().trim().to_owned()
}

fn silent() -> String {
    format!("no sign of life for {SILENCE:?}")
}

/// The first fault of each module.
fn one_of_each(faults: Vec<LoadFault>) -> Vec<LoadFault> {
    let mut seen = HashSet::new();
    faults.into_iter().filter(|fault| seen.insert(fault.place)).collect()
}

fn unexpected(reply: &Reply) -> WorkerError {
    out_of_turn(reply.name())
}

/// The reply itself may hold what rules said about events, which must not reach a log.
fn out_of_turn(name: &str) -> WorkerError {
    WorkerError::Died { calling: None, how: format!("it gave an answer out of turn: {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_only_pretends_to_work_is_found_out() {
        let patience = Duration::from_secs(50);
        let mut steps = Steps { most: 40, ..Steps::default() };
        for count in [100, 101, 140] {
            assert_eq!(steps.wrong(count, patience), None, "{count}");
        }
        tokio::time::advance(patience).await;
        assert_eq!(steps.wrong(140, patience), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(steps.wrong(140, patience), Some("it let a call run on"));
        // After another reply it has its patience again, and no more steps.
        steps.standing = None;
        assert_eq!(steps.wrong(140, patience), None);
        assert_eq!(steps.wrong(139, patience), Some("it takes steps back"));
        assert_eq!(steps.wrong(141, patience), Some("it takes more steps than it was given calls"));
        steps.standing = None;
        assert_eq!(steps.wrong(99, patience), Some("it takes steps back"));
    }
}
