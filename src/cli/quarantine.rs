//! `margay quarantine`: what could not be processed and is kept. Reads only; the daemon may be running. `margay replay`
//! sends it through the pipeline again.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;

use super::{ConfigArgument, block_on, complain, moment, print};
use crate::alert::render::safe;
use crate::app;
use crate::model::rfc3339;
use crate::state::{KeptFilter, QuarantineKind, Quarantined, StateStore};

/// Of the raw bytes, in a table.
const SHOWN: usize = 60;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List messages, objects and records, newest first.
    List(List),
    /// Show one of them whole: reason, place and the kept bytes.
    Show(Show),
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    config: ConfigArgument,
    /// `table` for people, `jsonl` for programs, with all the bytes that were kept.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only things of this kind.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only what was kept since then: 2026-01-02T03:04:05Z, 2026-01-02, or ago as 2h, 3d.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<OffsetDateTime>,
    /// Only things whose message id or address contains this.
    #[arg(long, value_name = "TEXT")]
    subject_contains: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
}

#[derive(clap::Args)]
struct Show {
    #[command(flatten)]
    config: ConfigArgument,
    /// As `quarantine list` shows it.
    id: String,
    /// At most this many of the kept bytes.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    bytes: usize,
    /// Show text as bytes, too.
    #[arg(long)]
    hex: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Jsonl,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Message,
    Object,
    Record,
}

impl From<Kind> for QuarantineKind {
    fn from(kind: Kind) -> QuarantineKind {
        match kind {
            Kind::Message => QuarantineKind::Message,
            Kind::Object => QuarantineKind::Object,
            Kind::Record => QuarantineKind::Record,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
    }
}

impl List {
    fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        let filter = KeptFilter {
            kind: self.kind.map(QuarantineKind::from),
            since: self.since,
            until: None,
            subject_contains: self.subject_contains.clone(),
        };
        block_on(async {
            let kept = app::state_for_reading(&config).await?.kept(&filter, self.limit).await?;
            let line = match self.format {
                Format::Table => table_line,
                Format::Jsonl => json_line,
            };
            print(&kept.iter().map(line).collect::<String>())?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Show {
    fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_reading(&config).await?;
            let kept = state.find(&self.id).await?;
            if kept.is_empty() {
                complain(format_args!("nothing is kept under {:?}; `margay quarantine list` shows ids", self.id));
                return Ok(ExitCode::FAILURE);
            }
            let mut shown = Vec::new();
            for kept in &kept {
                shown.push(self.text(kept, &tries(&*state, kept).await?));
            }
            print(&shown.join("\n"))?;
            Ok(ExitCode::SUCCESS)
        })
    }

    fn text(&self, kept: &Quarantined, tries: &str) -> String {
        let mut text = format!(
            "id       {}\nkind     {}\nkept     {}\nsubject  {}\n",
            kept.id,
            kind(kept),
            rfc3339(kept.at),
            safe(&kept.subject)
        );
        text += tries;
        if kept.kind == QuarantineKind::Record
            && let Some((_, ordinal)) = kept.subject.rsplit_once('#')
        {
            writeln!(text, "ordinal  {ordinal} (its place among the records of the object, from 0)")
                .expect("a String takes all text");
        }
        writeln!(text, "reason   {}", safe(&kept.reason)).expect("a String takes all text");
        if kept.raw.is_empty() {
            return text;
        }
        let shown = &kept.raw[..kept.raw.len().min(self.bytes)];
        writeln!(text, "bytes    {} kept, {} shown\n", kept.raw.len(), shown.len()).expect("a String takes all text");
        match std::str::from_utf8(shown) {
            // Cut at the limit, the last character may be a part of one.
            Ok(_) if !self.hex => text + &readable(shown),
            Err(error) if !self.hex && error.error_len().is_none() => text + &readable(&shown[..error.valid_up_to()]),
            _ => text + &hexdump(shown),
        }
    }
}

/// How often the object was tried from which this is; empty for a message.
async fn tries(state: &dyn StateStore, kept: &Quarantined) -> anyhow::Result<String> {
    let address = match kept.kind {
        QuarantineKind::Message => return Ok(String::new()),
        QuarantineKind::Object => &kept.subject,
        QuarantineKind::Record => kept.subject.rsplit_once('#').map_or(&*kept.subject, |(address, _)| address),
    };
    let Some((bucket, key)) = address.strip_prefix("s3://").and_then(|rest| rest.split_once('/')) else {
        return Ok(String::new());
    };
    // The id begins with a letter and the start of the object's.
    let id = kept.id[1..].split('-').next().unwrap_or_default();
    let versions = state.versions(bucket, key).await?;
    let object = versions.iter().map(|version| version.object.id()).find(|object| object.to_string().starts_with(id));
    let claims = match object {
        Some(object) => state.claims(object).await?,
        None => None,
    };
    Ok(claims.map_or(String::new(), |(times, last)| format!("tries    {times}, the last {}\n", rfc3339(last))))
}

/// Lines of text, without what a terminal would obey.
fn readable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().map(|line| format!("{}\n", safe(line))).collect()
}

/// Sixteen bytes a line: offset, hex, and what is printable.
fn hexdump(bytes: &[u8]) -> String {
    let line = |(number, bytes): (usize, &[u8])| {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let text: String = bytes.iter().map(printable).collect();
        format!("{:08x}  {:<47}  |{text}|\n", number * 16, hex.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

fn table_line(kept: &Quarantined) -> String {
    let mut line = format!(
        "{}  {:<7}  {:<16}  {}\n    {}\n",
        rfc3339(kept.at),
        kind(kept),
        kept.id,
        safe(&kept.subject),
        safe(&kept.reason)
    );
    if !kept.raw.is_empty() {
        let shown = &kept.raw[..kept.raw.len().min(SHOWN)];
        let more = if shown.len() < kept.raw.len() { "…" } else { "" };
        writeln!(line, "    {}{more}", shown.escape_ascii()).expect("a String takes all text");
    }
    line
}

/// `raw` as text; where it is no UTF-8, bytes are escaped as in `\xff` and `escaped` is true.
fn json_line(kept: &Quarantined) -> String {
    let text = std::str::from_utf8(&kept.raw);
    let line = serde_json::json!({
        "id": kept.id,
        "at": rfc3339(kept.at),
        "kind": kind(kept),
        "subject": kept.subject,
        "code": kept.code(),
        "reason": kept.reason,
        "raw": text.map_or_else(|_| kept.raw.escape_ascii().to_string(), str::to_owned),
        "escaped": text.is_err(),
    });
    format!("{line}\n")
}

fn kind(kept: &Quarantined) -> &'static str {
    use crate::state::QuarantineKind::{Message, Object, Record};
    match kept.kind {
        Message => "message",
        Object => "object",
        Record => "record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Code;

    #[test]
    fn a_program_reads_the_code_of_what_is_kept() {
        for (kind, reason, code) in [
            (QuarantineKind::Message, Code::BadKey.with("a % too many"), Some("bad_key")),
            (QuarantineKind::Object, format!("quarantined: {}", Code::Bomb.with("it grows")), Some("bomb")),
            (QuarantineKind::Object, format!("parked: {}", Code::KmsDenied.with("role x")), Some("kms_denied")),
            (QuarantineKind::Object, "missing: s3://b/k is not there".to_owned(), Some("missing")),
            (QuarantineKind::Object, "archived".to_owned(), Some("archived")),
            (QuarantineKind::Record, "not JSON: bomb".to_owned(), None),
        ] {
            let kept = Quarantined {
                id: "x".into(),
                kind,
                subject: "s".into(),
                reason,
                raw: b"\xff".to_vec().into(),
                at: OffsetDateTime::UNIX_EPOCH,
            };
            let line: serde_json::Value = serde_json::from_str(&json_line(&kept)).unwrap();
            assert_eq!(line["code"].as_str(), code, "{line}");
            assert_eq!(line["reason"], kept.reason);
        }
    }

    #[test]
    fn a_hexdump_has_offsets_bytes_and_printable_characters() {
        let dump = hexdump(b"0123456789abcdef\x00\xffz");
        assert_eq!(
            dump,
            "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|\n\
             00000010  00 ff 7a                                         |..z|\n"
        );
    }
}
