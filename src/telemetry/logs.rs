//! Starts logging, always to standard error, and changes its levels while the process runs.
//!
//! Lines are written by a thread of their own: whoever reads them may be slow or stand still (a full pipe, a stopped
//! terminal), and the daemon must not. Some thousand lines wait for the reader; what comes on top is dropped and
//! counted.
//!
//! A filter is read strictly: a misspelt level is an error here, where the library would take it for the name of a
//! module and silence everything else.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use super::{Config, LogFormat};

#[derive(Debug, thiserror::Error)]
pub enum LogSetupError {
    #[error("logging can't start with `log.filter`: {0}")]
    Filter(String),
    #[error("logging was started before in this process")]
    Started,
}

/// Changes the levels of a running process.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    current: Arc<Mutex<String>>,
    /// Of the writer of its own, when there is one.
    dropped: Option<ErrorCounter>,
}

/// What was logged is written to its end when this is dropped, unless nobody reads it.
#[must_use = "without it the last lines are lost"]
pub struct LogEnd(#[expect(dead_code, reason = "held for its drop")] WorkerGuard);

/// Lines that wait for a slow reader.
const WAITING_LINES: usize = 8192;

impl LogHandle {
    /// From now on logs what `filter` lets through, in the spelling of `log.filter`.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        let parsed = parse_filter(filter)?;
        // Locked over both steps, so that the text always is the one in force.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(parsed).map_err(|error| format!("the log filter can't be changed: {error}"))?;
        filter.trim().clone_into(&mut current);
        Ok(())
    }

    /// Lines that were dropped because nobody read those before them.
    pub fn dropped(&self) -> u64 {
        self.dropped.as_ref().map_or(0, |dropped| dropped.dropped_lines() as u64)
    }

    /// The filter in force.
    pub fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts logging for the whole process. Once.
pub fn init(config: &Config) -> Result<(LogHandle, LogEnd), LogSetupError> {
    let terminal = std::io::stderr().is_terminal();
    let human = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let (writer, end) = writer(std::io::stderr());
    let dropped = Some(writer.error_counter());
    let (subscriber, handle) = build(config, human, terminal, writer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogSetupError::Started)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok((LogHandle { dropped, ..handle }, LogEnd(end)))
}

fn writer(to: impl std::io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).lossy(true).thread_name("log").finish(to)
}

/// The place of a panic and not its text, which may quote an event.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(location, thread, "a thread panicked; this is a bug of margay");
}

pub(crate) fn build<W>(
    config: &Config,
    human: bool,
    colours: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogHandle), LogSetupError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = parse_filter(&config.filter).map_err(LogSetupError::Filter)?;
    let (filter, reload) = reload::Layer::new(filter);
    let lines = if human {
        let lines = fmt::layer().with_writer(writer);
        // Left alone on a terminal, the layer honours NO_COLOR.
        if colours { lines.boxed() } else { lines.with_ansi(false).boxed() }
    } else {
        fmt::layer().json().flatten_event(true).with_writer(writer).boxed()
    };
    let handle =
        LogHandle { filter: reload, current: Arc::new(Mutex::new(config.filter.trim().to_owned())), dropped: None };
    Ok((tracing_subscriber::registry().with(filter).with(lines), handle))
}

/// A level, then any number of `module=level`, separated by commas.
pub(super) fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("", *directive));
        if level.parse::<LevelFilter>().is_err() || level.is_empty() || level.parse::<u8>().is_ok() {
            return Err(format!(
                "`{directive}` does not end in a level; use `error`, `warn`, `info`, `debug`, `trace` or `off`, \
                 alone or for a module, as in `info,margay::fetch=debug`"
            ));
        }
        if directive.contains('=') && target.trim().is_empty() {
            return Err(format!("`{directive}` names no module; use a level alone or `module=level`"));
        }
    }
    EnvFilter::try_new(directives.join(",")).map_err(|error| format!("`{text}` can't be used as a log filter: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What was logged, shared with the subscriber that writes it.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn lines(&self) -> usize {
            self.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
        }

        fn first(&self) -> Vec<u8> {
            self.0.lock().unwrap().split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn started(filter: &str) -> (impl Subscriber + Send + Sync, LogHandle, Written) {
        let written = Written::default();
        let config = Config { format: LogFormat::Json, filter: filter.into() };
        let target = written.clone();
        let (subscriber, handle) = build(&config, false, false, move || target.clone()).unwrap();
        (subscriber, handle, written)
    }

    #[test]
    fn levels_change_at_run_time() {
        let (subscriber, handle, written) = started("warn");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("before");
            assert_eq!(written.lines(), 0);
            handle.set_filter("info").unwrap();
            tracing::info!("after");
            assert_eq!(written.lines(), 1);
            assert_eq!(handle.current(), "info");
            handle.set_filter("loud").unwrap_err();
            assert_eq!(handle.current(), "info", "a refused filter changes nothing");
            tracing::info!("still");
            assert_eq!(written.lines(), 2);
        });
    }

    /// Standard error that nobody reads until the test says so.
    struct Blocked(std::sync::mpsc::Receiver<()>, Written);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Ends when the test drops its side.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nothing_up_and_counts_what_it_drops() {
        let (unblock, blocked) = std::sync::mpsc::channel();
        let written = Written::default();
        let (writer, _end) = writer(Blocked(blocked, written.clone()));
        let dropped = writer.error_counter();
        let config = Config { format: LogFormat::Json, filter: "info".into() };
        let (subscriber, _handle) = build(&config, false, false, writer).unwrap();
        let lines = 2 * WAITING_LINES;
        tracing::subscriber::with_default(subscriber, || (0..lines).for_each(|n| tracing::info!(n, "line")));
        let lost = dropped.dropped_lines();
        assert!(lost >= lines - WAITING_LINES - 2, "{lost}");
        drop(unblock);
        // Ends when all that was not dropped is written.
        while written.lines() + lost < lines {
            std::thread::yield_now();
        }
        assert_eq!((written.lines() + lost, dropped.dropped_lines()), (lines, lost));
    }

    #[test]
    fn each_line_is_one_json_object() {
        let (subscriber, _handle, written) = started("info");
        tracing::subscriber::with_default(subscriber, || tracing::info!(objects = 3, "two\nlines"));
        assert_eq!(written.lines(), 1);
        let line: serde_json::Value = serde_json::from_slice(&written.first()).unwrap();
        assert_eq!(line["objects"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn filters_are_read_strictly() {
        for good in
            ["info", "WARN", "off", "info,margay::fetch=debug", " warn , margay=trace ", "info,margay[span]=debug"]
        {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "ifno", "info,", "margay::fetch", "info,margay=loud", "=info", "3", "info,margay="] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
    }
}
