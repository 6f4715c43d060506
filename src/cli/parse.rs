//! `margay parse`: raw log entries in, events out. Needs no configuration, no network and no state.

use std::fs::File;
use std::io::{BufRead, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::schema::LogTypes;
use super::{EXIT_USAGE, complain, failure};
use crate::decode::{Decoder, Limits, Pace, Piece, RowDecoder, Want};
use crate::logtype::{Classified, Classifier, Context, Registry, Schema, batch, guess, stream_of};
use crate::model::{ObjectId, Record, Reject, Stream, StreamType};
use crate::runtime::{Clock, SystemClock};

/// Of these many records it is guessed what an object holds.
const GUESSED_FROM: usize = 50;

/// Input is read in pieces of this size.
const PIECE: usize = 16 * 1024;

const LIMITS: Limits = Limits { max_object_bytes: 32 << 30, max_record_bytes: 16 << 20 };

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files with raw logs, compressed or not; without one, or for `-`, standard input.
    files: Vec<PathBuf>,
    /// What the records may be; may be repeated. Without it and without --schema, all log types are tried and the best
    /// fit is taken.
    #[arg(long = "log-type", value_name = "NAME")]
    log_type: Vec<String>,
    /// A schema to try, in its file; may be repeated.
    #[arg(long, value_name = "FILE")]
    schema: Vec<PathBuf>,
    /// How the input is split into records: Auto, Lines, JSON, JsonArray …
    #[arg(long, value_name = "TYPE", default_value = "Auto", value_parser = stream_type)]
    stream_type: StreamType,
    /// Leave out fields that the schema does not know.
    #[arg(long)]
    known_fields_only: bool,
    #[command(flatten)]
    log_types: LogTypes,
    /// Read requests as JSON lines on standard input and answer each with one JSON line: `id`, `log_type`, `input`
    /// (array of entries) and optionally `schema` (YAML) give `id` and `events`, or `error`.
    #[arg(long, conflicts_with_all = ["files", "log_type", "schema", "known_fields_only", "folders"])]
    batch: bool,
}

fn stream_type(text: &str) -> Result<StreamType, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.batch {
        return match answer_all() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure(&error.into()),
        };
    }
    let candidates = match candidates(arguments) {
        Ok(candidates) => candidates,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(format_args!("{fault}")));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let inputs = if arguments.files.is_empty() { vec![PathBuf::from("-")] } else { arguments.files.clone() };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut complete = true;
    for path in &inputs {
        match parse(path, &candidates, arguments, &mut out).with_context(|| path.display().to_string()) {
            Ok(whole) => complete &= whole,
            Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                // A reader that has enough.
                Some(std::io::ErrorKind::BrokenPipe) => return ExitCode::SUCCESS,
                _ => return failure(&error),
            },
        }
    }
    match out.flush() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => failure(&error.into()),
        _ if complete => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn answer_all() -> std::io::Result<()> {
    let registry = Registry::built_in();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if !line.trim().is_empty() {
            writeln!(out, "{}", batch::answer(&registry, &line, SystemClock.now()))?;
        }
    }
    out.flush()
}

/// What the records may be.
enum Candidates {
    Named(Vec<Arc<Schema>>),
    /// Whatever fits.
    Any(Registry),
}

fn candidates(arguments: &Arguments) -> Result<Candidates, Vec<String>> {
    let registry = arguments.log_types.registry()?;
    let mut faults = Vec::new();
    let mut schemas = Vec::new();
    for name in &arguments.log_type {
        match registry.get(name) {
            Ok(schema) => schemas.push(schema.clone()),
            Err(unknown) => faults.push(unknown.to_string()),
        }
    }
    for path in &arguments.schema {
        let origin = path.display().to_string();
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        match std::fs::read_to_string(path) {
            Err(error) => faults.push(format!("{origin}: {error}")),
            Ok(text) => match Schema::from_yaml(&text, &origin, stem.as_deref()) {
                Ok(schema) => schemas.push(schema.into()),
                Err(errors) => faults.extend(errors.iter().map(ToString::to_string)),
            },
        }
    }
    match (faults.is_empty(), schemas.is_empty()) {
        (false, _) => Err(faults),
        (true, true) => Ok(Candidates::Any(registry)),
        (true, false) => Ok(Candidates::Named(schemas)),
    }
}

/// Prints the events of one input. False when something of it is no event.
fn parse(path: &Path, candidates: &Candidates, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut input: Box<dyn Read> = match path {
        path if path == Path::new("-") => Box::new(std::io::stdin().lock()),
        path => Box::new(File::open(path)?),
    };
    let mut printer = Printer { path, candidates, arguments, out, held: Vec::new(), classifier: None, whole: true };
    let stream = Stream { kind: arguments.stream_type, ..Stream::default() };
    let stream = match candidates {
        Candidates::Named(schemas) => stream_of(&stream, schemas),
        Candidates::Any(_) => stream,
    };
    let mut decoder = Decoder::new(&stream, LIMITS);
    // There is one object at a time.
    decoder.allow_large_windows();
    let mut buffer = vec![0; PIECE];
    let mut pieces = Vec::new();
    let (mut left, mut pace, mut ended) = (0..0, Pace::Done, false);
    loop {
        if pace == Pace::Done {
            left = 0..input.read(&mut buffer)?;
            ended = left.is_empty();
        }
        let mut rest = &buffer[left.clone()];
        let decoded = if ended { decoder.finish(&mut pieces) } else { decoder.push(&mut rest, &mut pieces) };
        left.start = left.end - rest.len();
        printer.pieces(&mut pieces)?;
        if let Err(error) = &decoded {
            printer.complain(format_args!("{error}"));
        }
        match decoded {
            Ok(Pace::Ranges) if path == Path::new("-") => {
                printer.complain(format_args!("a Parquet file has its beginning at its end; name it instead of -"));
                return printer.end();
            }
            Ok(Pace::Ranges) => {
                parse_rows(&mut printer)?;
                return printer.end();
            }
            Ok(now) if !ended || now != Pace::Done => pace = now,
            _ => return printer.end(),
        }
    }
}

/// Prints the events of a Parquet file.
fn parse_rows(printer: &mut Printer<'_, impl Write>) -> anyhow::Result<()> {
    let mut file = File::open(printer.path)?;
    let mut decoder = RowDecoder::new(LIMITS, file.metadata()?.len());
    decoder.allow_large_windows();
    let mut pieces = Vec::new();
    loop {
        let want = decoder.advance(&mut pieces);
        printer.pieces(&mut pieces)?;
        let supplied = match want {
            Ok(Want::Bytes(range)) => {
                let mut bytes = Vec::new();
                file.seek(SeekFrom::Start(range.start))?;
                Read::by_ref(&mut file).take(range.end - range.start).read_to_end(&mut bytes)?;
                decoder.supply(bytes.into())
            }
            Ok(Want::More | Want::LargeWindow) => Ok(()),
            Ok(Want::Done) => return Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = supplied {
            printer.complain(format_args!("{error}"));
            return Ok(());
        }
    }
}

/// Takes records as they come; the first ones are held until it is known what they are.
struct Printer<'a, W: Write> {
    path: &'a Path,
    candidates: &'a Candidates,
    arguments: &'a Arguments,
    out: &'a mut W,
    held: Vec<Record>,
    classifier: Option<Classifier>,
    whole: bool,
}

impl<W: Write> Printer<'_, W> {
    fn pieces(&mut self, pieces: &mut Vec<Piece>) -> anyhow::Result<()> {
        pieces.drain(..).try_for_each(|piece| match piece {
            Piece::Record(record) => self.record(record),
            Piece::Reject(reject) => {
                self.reject(&reject);
                Ok(())
            }
        })
    }

    fn record(&mut self, record: Record) -> anyhow::Result<()> {
        if self.classifier.is_some() {
            return self.print(&record);
        }
        self.held.push(record);
        if self.held.len() < GUESSED_FROM { Ok(()) } else { self.choose() }
    }

    /// Settles what the records may be, and prints the ones that waited for it.
    fn choose(&mut self) -> anyhow::Result<()> {
        let context = Context {
            object: ObjectId([0; 16]),
            address: None,
            source: "".into(),
            parse_time: SystemClock.now(),
            keep_unknown: !self.arguments.known_fields_only,
            guard_event_time: true,
        };
        let schemas = match self.candidates {
            Candidates::Named(schemas) => schemas.clone(),
            Candidates::Any(registry) => {
                let found = guess(registry, &self.held, &context);
                let told = found.iter().take(3).map(|guess| &*guess.schema.name).collect::<Vec<_>>().join(", ");
                let told = if told.is_empty() { "nothing known; name it with --log-type" } else { &told };
                complain(format_args!("{}: looks like {told}", self.path.display()));
                found.into_iter().map(|guess| guess.schema).collect()
            }
        };
        self.classifier = Some(Classifier::with_schemas(schemas, context));
        std::mem::take(&mut self.held).iter().try_for_each(|record| self.print(record))
    }

    fn print(&mut self, record: &Record) -> anyhow::Result<()> {
        let classifier = self.classifier.as_mut().expect("it was chosen before the first record is printed");
        match classifier.classify(record) {
            Classified::Blank => {}
            Classified::Rejected(reject) => self.reject(&reject),
            Classified::Events(events) => {
                for event in events {
                    serde_json::to_writer(&mut *self.out, &event.fields).map_err(std::io::Error::from)?;
                    self.out.write_all(b"\n")?;
                }
            }
        }
        Ok(())
    }

    fn reject(&mut self, reject: &Reject) {
        self.complain(format_args!("record {}: {}", reject.ordinal + 1, reject.reason));
    }

    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        self.whole = false;
        complain(format_args!("{}: {what}", self.path.display()));
    }

    fn end(mut self) -> anyhow::Result<bool> {
        if self.classifier.is_none() && !self.held.is_empty() {
            self.choose()?;
        }
        Ok(self.whole)
    }
}
