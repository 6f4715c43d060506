//! The life of a worker process: frames in, Python, frames out, and four ways to end at once.
//!
//! - The reader's thread ends the process when the daemon is gone or speaks nonsense, even while Python is busy.
//! - The watchdog's thread ends it when a call overran its budget, after saying so.
//! - The interpreter's thread ends it when a rule changed what all rules share, after saying so.
//! - A panic in the interpreter ends it with a failure status, which the daemon takes for a crash.
//!
//! The output is locked for the length of one frame and never while Python runs.

use std::io::{self, Read, Write};
use std::process::{self, ExitCode};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::key_value::Ask;
use super::laps::Laps;
use super::output::Watcher;
use super::runner::{Listener, Runner};
use super::walls;
use super::watch::Watch;
use crate::detect::protocol::{self, Looked, Outcome, Reply, Request};
use crate::model::key_value::{Answer as KeyValueAnswer, Call, Refusal};

/// The daemon went away between two requests: nothing is wrong.
const STATUS_DONE: u8 = 0;
/// A frame was cut, too large, or not a request; or an answer could not be written.
const STATUS_PROTOCOL: u8 = 65;
/// The interpreter did not start, or panicked.
const STATUS_BROKEN: u8 = 70;
/// A call overran its budget, and that was reported.
const STATUS_OVERRUN: u8 = 75;
/// A rule changed what all rules share, and that was reported.
const STATUS_TAMPERED: u8 = 76;

/// Of the interpreter's thread. Python's own limit is 1000 frames, and the interpreter raises `RecursionError` before
/// this stack ends, so the size decides how deep native recursion (parsing, comparing, `repr`) may go. Only pages
/// that are touched cost memory, but all of it counts towards the address-space limit, hence no more than this.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Outcomes are said when they have about so many bytes.
const PART_BYTES: usize = 256 * 1024;

/// Of the alert contexts of one batch. A batch is a MiB of events or so, and its outcomes lie in the daemon's memory until
/// they are stored.
const CONTEXT_BYTES: usize = 256 * 1024 * 1024;

/// Requests waiting while one is worked on. The daemon sends one at a time; this is for the first two.
const WAITING: usize = 2;

/// Serves one daemon until it goes away. `memory_limit` bounds the address space of this process, in bytes.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    memory_limit: Option<u64>,
) -> ExitCode {
    if let Err(error) = walls::close_behind(memory_limit) {
        complain(&format!("could not limit this process: {error}"));
        return ExitCode::from(STATUS_BROKEN);
    }
    // The text of a panic may quote an event; the daemon's log must not have it.
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!("panicked at {}", panic.location().map(ToString::to_string).unwrap_or_default()));
    }));
    let watch = Arc::new(Watch::default());
    let output = Arc::new(Mutex::new(output));
    let (sender, requests) = mpsc::sync_channel(WAITING);
    let requests = Arc::new(Requests(Mutex::new(requests)));
    let started = spawn("reader", None, move || read(input, sender)).and_then(|_| {
        let (watch, output) = (watch.clone(), output.clone());
        spawn("watchdog", None, move || report_overrun(&watch, &output))?;
        Ok(())
    });
    let interpreter =
        started.and_then(|()| spawn("interpreter", Some(STACK_BYTES), move || answer(&requests, &watch, &output)));
    let status = match interpreter {
        Ok(thread) => thread.join().unwrap_or(STATUS_BROKEN),
        Err(error) => {
            complain(&format!("could not start a thread: {error}"));
            STATUS_BROKEN
        }
    };
    ExitCode::from(status)
}

fn spawn<T: Send + 'static>(
    name: &str,
    stack: Option<usize>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    let builder = thread::Builder::new().name(name.to_owned());
    stack.into_iter().fold(builder, thread::Builder::stack_size).spawn(body)
}

/// Hands frames on until there are no more, and takes the process along.
fn read(mut input: impl Read, requests: SyncSender<Vec<u8>>) {
    let _end_on_panic = EndOnPanic;
    loop {
        match protocol::read_frame(&mut input) {
            Ok(Some(frame)) => {
                if requests.send(frame).is_err() {
                    // The interpreter's thread ended; its status is the one that counts.
                    return;
                }
            }
            Ok(None) => end(STATUS_DONE),
            Err(error) => {
                complain(&format!("could not read a request: {error}"));
                end(STATUS_PROTOCOL);
            }
        }
    }
}

fn report_overrun(watch: &Watch, output: &Mutex<impl Write>) {
    let _end_on_panic = EndOnPanic;
    // A daemon that can't be told is gone, and the reader's thread ends the process.
    let overrun = watch.until_overrun(|steps| drop(say(output, &Reply::Alive { steps })));
    let said = say(output, &overrun);
    end(if said.is_ok() { STATUS_OVERRUN } else { STATUS_PROTOCOL });
}

/// The interpreter's thread. Returns only with a failure: a healthy process is ended by the reader.
fn answer<W: Write + Send + 'static>(requests: &Arc<Requests>, watch: &Arc<Watch>, output: &Arc<Mutex<W>>) -> u8 {
    let daemon = Arc::new(Daemon { requests: requests.clone(), output: output.clone() });
    let mut runner = match Runner::start(watch.clone(), daemon) {
        Ok(runner) => runner,
        Err(error) => {
            complain(&error.to_string());
            return STATUS_BROKEN;
        }
    };
    // The other threads run by now: this one is started last.
    let unwalled = walls::lock().err();
    while let Some(frame) = requests.next() {
        let request = match serde_json::from_slice(&frame) {
            Ok(request) => request,
            Err(error) => {
                complain(&format!("could not understand a request: {error}"));
                return STATUS_PROTOCOL;
            }
        };
        drop(frame);
        watch.wake();
        let reply = reply_to(request, &unwalled, &mut runner, watch, output);
        watch.rest();
        if let Err(error) = reply.and_then(|reply| say(output, &reply)) {
            complain(&format!("could not write an answer: {error}"));
            return STATUS_PROTOCOL;
        }
    }
    STATUS_PROTOCOL
}

fn reply_to(
    request: Request,
    unwalled: &Option<String>,
    runner: &mut Runner,
    watch: &Watch,
    output: &Arc<Mutex<impl Write + Send + 'static>>,
) -> io::Result<Reply> {
    Ok(match request {
        Request::Hello { version: _, call_timeout_ms } => {
            watch.set_budget(Duration::from_millis(call_timeout_ms));
            // The daemon compares versions: it is the one that can start another worker.
            Reply::Ready { version: protocol::VERSION, unwalled: unwalled.clone() }
        }
        Request::Load(sources) => {
            let mut said = Ok(());
            let mut announce = |place| {
                if said.is_ok() {
                    said = say(output, &Reply::Loading { place });
                }
            };
            let faults = runner.load(&sources, &mut announce);
            said?;
            Reply::Loaded { faults }
        }
        Request::Evaluate { careful, calls } => {
            let began = Instant::now();
            let mut answer = Answer::new(runner, watch, output, careful);
            runner.evaluate(&calls, &mut answer);
            answer.flush(calls.len() as u32);
            answer.said?;
            Reply::Evaluated { busy_ns: began.elapsed().as_nanos().try_into().unwrap_or(u64::MAX) }
        }
        Request::Test { rule, event, mocks, watched } => {
            let to = output.clone();
            // Whether it could be said shows when the answer is.
            let watcher: Watcher = Arc::new(move |step| drop(say(&to, &Reply::Step(step))));
            let functions = runner.test(rule, &event, &mocks, watched.then_some(watcher));
            end_if_tampered(runner, Some((0, rule)), output);
            Reply::Tested(Box::new(functions))
        }
        Request::KeyValue { .. } | Request::Looked(_) => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer that nobody waits for"));
        }
    })
}

/// The answer to one `Evaluate`, said in parts.
struct Answer<'a, W> {
    runner: &'a Runner,
    output: &'a Mutex<W>,
    careful: bool,
    /// The last call that was announced.
    calling: Option<(u32, u32)>,
    part: Vec<Outcome>,
    bytes: usize,
    /// Bytes of alert contexts so far.
    contexts: usize,
    laps: Laps<'a>,
    said: io::Result<()>,
}

impl<'a, W: Write> Answer<'a, W> {
    fn new(runner: &'a Runner, watch: &'a Watch, output: &'a Mutex<W>, careful: bool) -> Answer<'a, W> {
        let laps = Laps::new(watch);
        Answer { runner, output, careful, calling: None, part: Vec::new(), bytes: 0, contexts: 0, laps, said: Ok(()) }
    }

    fn flush(&mut self, through: u32) {
        end_if_tampered(self.runner, self.calling.take(), self.output);
        let outcomes = std::mem::take(&mut self.part);
        self.bytes = 0;
        let spent = self.laps.take();
        self.say(&Reply::Outcomes { through, outcomes, spent });
    }

    fn say(&mut self, reply: &Reply) {
        if self.said.is_ok() {
            self.said = say(self.output, reply);
        }
    }
}

impl<W: Write> Listener for Answer<'_, W> {
    fn calling(&mut self, event: u32, rule: u32) {
        if self.careful {
            self.laps.end();
            end_if_tampered(self.runner, self.calling.replace((event, rule)), self.output);
            self.say(&Reply::Calling { event, rule });
        }
        self.laps.begin(rule);
    }

    fn outcome(&mut self, mut outcome: Outcome) {
        self.laps.end();
        if let Some(context) = &mut outcome.functions.alert_context {
            self.contexts += context.len();
            if self.contexts > CONTEXT_BYTES {
                *context =
                    format!(r#"{{"_error": "the alert contexts of one batch are more than {CONTEXT_BYTES} bytes"}}"#);
            }
        }
        let event = outcome.event;
        self.bytes += outcome.functions.size();
        self.part.push(outcome);
        if self.bytes > PART_BYTES {
            self.flush(event);
        }
    }

    fn event_done(&mut self, event: u32) {
        self.laps.end();
        // A process that dies after this dies in no call.
        if self.careful {
            self.flush(event + 1);
        }
    }
}

/// What rules say after one of them changed what they share is not what they would say alone.
fn end_if_tampered(runner: &Runner, call: Option<(u32, u32)>, output: &Mutex<impl Write>) {
    if let Some(what) = runner.tampering() {
        let said = say(output, &Reply::Tampered { call, what });
        end(if said.is_ok() { STATUS_TAMPERED } else { STATUS_PROTOCOL });
    }
}

/// What the reader has read, for the interpreter's thread.
struct Requests(Mutex<Receiver<Vec<u8>>>);

impl Requests {
    fn next(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// The other end of the pipe, while a rule runs.
struct Daemon<W> {
    requests: Arc<Requests>,
    output: Arc<Mutex<W>>,
}

impl<W: Write + Send> Ask for Daemon<W> {
    fn ask(&self, event: u32, rule: u32, call: Call) -> Result<KeyValueAnswer, Refusal> {
        if let Err(error) = say(&self.output, &Reply::KeyValue { event, rule, call }) {
            complain(&format!("could not ask for what a rule keeps: {error}"));
            end(STATUS_PROTOCOL);
        }
        // The daemon sends nothing else while it owes an answer. Should it go away, the reader ends this process.
        match self.requests.next().as_deref().map(serde_json::from_slice) {
            Some(Ok(Request::KeyValue { answer })) => answer,
            _ => {
                complain("got something else than what a rule asked for");
                end(STATUS_PROTOCOL)
            }
        }
    }

    fn look_up(&self, event: u32, rule: u32, table: &str, key: &str) -> Looked {
        let asked = Reply::Lookup { event, rule, table: table.to_owned(), key: key.to_owned() };
        if let Err(error) = say(&self.output, &asked) {
            complain(&format!("could not ask for a row of a lookup table: {error}"));
            end(STATUS_PROTOCOL);
        }
        match self.requests.next().as_deref().map(serde_json::from_slice) {
            Some(Ok(Request::Looked(looked))) => looked,
            _ => {
                complain("got something else than the row that a rule asked for");
                end(STATUS_PROTOCOL)
            }
        }
    }
}

fn say(output: &Mutex<impl Write>, reply: &Reply) -> io::Result<()> {
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    protocol::write_frame(&mut *output, reply)
}

/// Ends the process whatever its other threads do.
fn end(status: u8) -> ! {
    process::exit(status.into())
}

/// Standard error is inherited from the daemon, so this stands among its own messages.
fn complain(said: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr(), "rule worker: {said}");
}

/// A thread that others wait for must not vanish with a panic.
struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            end(STATUS_BROKEN);
        }
    }
}
