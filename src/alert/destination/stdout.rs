//! Alerts on standard output, or on any other writer: an entry for people or a line of JSON. Nothing else is written
//! there, so the lines can be piped into a program.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Destination, SendError};
use crate::alert::OutputFormat;
use crate::alert::message::Message;
use crate::alert::render::{self, Style};
use crate::model::Taken;
use crate::runtime::blocking;

pub const NAME: &str = "stdout";

pub struct Stdout<W> {
    writer: Arc<Mutex<W>>,
    style: Style,
}

impl Stdout<io::Stdout> {
    pub fn new(format: OutputFormat) -> Stdout<io::Stdout> {
        let stdout = io::stdout();
        let style = Style::choose(format, stdout.is_terminal());
        Stdout::to(stdout, style)
    }
}

impl<W: Write + Send + 'static> Stdout<W> {
    pub fn to(writer: W, style: Style) -> Stdout<W> {
        Stdout { writer: Arc::new(Mutex::new(writer)), style }
    }
}

#[async_trait]
impl<W: Write + Send + 'static> Destination for Stdout<W> {
    fn name(&self) -> &str {
        NAME
    }

    async fn send(&self, message: &Message<'_>) -> Result<Taken, SendError> {
        let text = render::one(message.alert, self.style);
        // Waiting for the lock can be given up without a trace, and whoever has it is the only one that can block: a
        // reader that has stopped reading holds one thread and not one for each alert.
        let mut writer = self.writer.clone().lock_owned().await;
        blocking(move || writer.write_all(text.as_bytes()).and_then(|()| writer.flush()))
            .await
            .map(|()| Taken::default())
            .map_err(|error| SendError::unavailable(format!("could not write the alert to standard output: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::destination::Failure;
    use crate::state::fixtures::{START, alert, rule};

    /// A reader that has gone.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_alert_is_one_line_of_json() {
        let stdout = Stdout::to(Vec::new(), Style::Json);
        for id in ["a", "b"] {
            let alert = alert(rule(id));
            stdout.send(&Message::new(&alert, NAME, None, 0, START)).await.unwrap();
        }
        let written = String::from_utf8(stdout.writer.lock().await.clone()).unwrap();
        let rules: Vec<_> = written
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["ruleId"].clone())
            .collect();
        assert_eq!(rules, ["a", "b"]);
        assert!(written.ends_with('\n'));
    }

    #[tokio::test]
    async fn a_closed_output_is_an_error_and_not_a_loss() {
        let alert = alert(rule("r"));
        let sent = Stdout::to(Closed, Style::Plain).send(&Message::new(&alert, NAME, None, 0, START)).await;
        let error = sent.unwrap_err();
        assert_eq!(error.failure, Failure::Unavailable(None));
        assert!(error.reason.contains("standard output"), "{error}");
    }
}
