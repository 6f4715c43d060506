//! `margay schema`: log types and the schemas behind them. Needs no daemon, and no state but for the fields that were
//! discovered, which are read beside a running daemon.

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use walkdir::WalkDir;

use super::{ConfigArgument, EXIT_USAGE, block_on, complain, failure, here, print};
use crate::app;
use crate::detect;
use crate::logtype::evolve::{self, Verdict};
use crate::logtype::infer::Inference;
use crate::logtype::{Origin, Registry, Schema, cases, is_schema_tests};
use crate::lookup::Loading;
use crate::model::{SeenField, UnknownField, rfc3339};
use crate::runtime::{Clock, SystemClock};
use crate::state::FIELD_LIMIT;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the log types, each with what it is.
    List(LogTypes),
    /// Print the schema of a log type.
    Show {
        /// Name of the log type, in any case.
        name: String,
        #[command(flatten)]
        log_types: LogTypes,
    },
    /// Write a first schema from samples: JSON objects, one a line.
    Infer {
        /// Files with samples; without one, standard input.
        files: Vec<PathBuf>,
        /// Name of the new log type.
        #[arg(long, default_value = "Custom.Inferred")]
        name: String,
    },
    /// Run the tests of schemas: every `*_tests.yml` below a folder, on the schemas there and the built-in ones.
    Test {
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// List the fields that records of a log type had and its schema has not.
    Fields {
        /// Name of the log type, in any case.
        name: String,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Compare two versions of a schema: what stored events allow, and what not.
    Diff {
        /// The version that events are stored in: a file, or the name of a log type.
        old: String,
        /// The version to come.
        new: String,
        /// Allow integers to become wider.
        #[arg(long)]
        allow_widening: bool,
        #[command(flatten)]
        log_types: LogTypes,
    },
}

/// Where log types come from beside the binary.
#[derive(clap::Args)]
pub(super) struct LogTypes {
    /// Folder with more log types; may be repeated.
    #[arg(long = "log-types", value_name = "FOLDER")]
    folders: Vec<PathBuf>,
}

impl LogTypes {
    /// The registry, or what is wrong with the folders' schemas.
    pub(super) fn registry(&self) -> Result<Registry, Vec<String>> {
        here(&self.folders).map_err(|problem| vec![problem])?;
        app::log_types(&self.folders)
    }

    /// What lookup tables are loaded with now.
    pub(super) fn loading(&self) -> Result<Loading, Vec<String>> {
        let limits = detect::Config::default().table_limits();
        Ok(Loading { log_types: Arc::new(self.registry()?), limits, now: SystemClock.now() })
    }
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::List(log_types) => list(log_types),
        Command::Show { name, log_types } => show(name, log_types),
        Command::Infer { files, name } => infer(files, name),
        Command::Test { folder } => test(folder),
        Command::Fields { name, config } => return fields(name, config),
        Command::Diff { old, new, allow_widening, log_types } => diff(old, new, *allow_widening, log_types),
    };
    done.unwrap_or_else(|error| failure(&error))
}

/// Schemas that can't be loaded, each fault on a line of standard error.
fn refused(faults: &[String]) -> ExitCode {
    faults.iter().for_each(|fault| complain(format_args!("{fault}")));
    ExitCode::from(EXIT_USAGE)
}

fn list(log_types: &LogTypes) -> anyhow::Result<ExitCode> {
    let registry = match log_types.registry() {
        Ok(registry) => registry,
        Err(faults) => return Ok(refused(&faults)),
    };
    let width = registry.names().map(|name| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for schema in registry.schemas() {
        let own = matches!(registry.origin(&schema.name)?, Origin::File(_));
        let mark = if own { " (own)" } else { "" };
        writeln!(text, "{:<width$}  {}{mark}", schema.name, schema.description)?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, log_types: &LogTypes) -> anyhow::Result<ExitCode> {
    let registry = match log_types.registry() {
        Ok(registry) => registry,
        Err(faults) => return Ok(refused(&faults)),
    };
    print(registry.text(name)?)?;
    Ok(ExitCode::SUCCESS)
}

fn infer(files: &[PathBuf], name: &str) -> anyhow::Result<ExitCode> {
    let mut inference = Inference::default();
    let mut add = |text: &str, origin: &str| {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            inference.add(line).map_err(|error| anyhow::anyhow!("{origin}:{}: {error}", number + 1))?;
        }
        anyhow::Ok(())
    };
    if files.is_empty() {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        add(&text, "standard input")?;
    }
    for file in files {
        add(&read(file)?, &file.display().to_string())?;
    }
    print(&inference.schema(name)?)?;
    Ok(ExitCode::SUCCESS)
}

fn test(folder: &Path) -> anyhow::Result<ExitCode> {
    let registry = match app::log_types(&[folder.to_owned()]) {
        Ok(registry) => registry,
        Err(faults) => return Ok(refused(&faults)),
    };
    let now = SystemClock.now();
    let (mut text, mut passed, mut failed) = (String::new(), 0, 0);
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name() {
        let path = entry?.into_path();
        if !path.is_file() || !is_schema_tests(&path) {
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let log_type = stem.trim_end_matches("_tests");
        let cases = match cases::cases(&read(&path)?, &path.display().to_string(), log_type) {
            Ok(cases) => cases,
            Err(errors) => return Ok(refused(&errors.iter().map(ToString::to_string).collect::<Vec<_>>())),
        };
        for case in cases {
            match case.run(&registry, now) {
                Ok(()) => {
                    passed += 1;
                    writeln!(text, "ok    {}  {}", case.log_type, case.name)?;
                }
                Err(difference) => {
                    failed += 1;
                    writeln!(text, "FAIL  {}  {}\n      {difference}", case.log_type, case.name)?;
                }
            }
        }
    }
    writeln!(text, "{passed} passed, {failed} failed")?;
    print(&text)?;
    anyhow::ensure!(passed + failed > 0, "{}: no `*_tests.yml` with a case lies there", folder.display());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fields(name: &str, config: &ConfigArgument) -> ExitCode {
    let config = match config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let registry = match app::log_types(&config.log_types.directories) {
        Ok(registry) => registry,
        Err(faults) => return refused(&faults),
    };
    block_on(async {
        let name = &registry.get(name)?.name;
        let found = app::state_for_reading(&config).await?.unknown_fields(name).await?;
        let mut text = String::new();
        for SeenField { field: UnknownField { path, kind }, since } in &found {
            // A name comes from a log and goes to a terminal.
            writeln!(text, "{}  {kind}, since {}", path.escape_debug(), rfc3339(*since))?;
        }
        print(&text)?;
        if found.is_empty() {
            complain(format_args!("no field is known that the schema of {name} has not"));
        }
        if found.len() as u64 >= u64::from(FIELD_LIMIT) {
            complain(format_args!("there may be more than {FIELD_LIMIT}, of which none is remembered"));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn diff(old: &str, new: &str, allow_widening: bool, log_types: &LogTypes) -> anyhow::Result<ExitCode> {
    let registry = match log_types.registry() {
        Ok(registry) => registry,
        Err(faults) => return Ok(refused(&faults)),
    };
    let named = |text: &str| -> anyhow::Result<Result<std::sync::Arc<Schema>, ExitCode>> {
        let path = Path::new(text);
        if !path.is_file() {
            return Ok(Ok(registry.get(text)?.clone()));
        }
        // Both files are versions of one log type, whatever they are called.
        let faults = match Schema::from_yaml(&read(path)?, text, Some("Custom.Compared")) {
            Ok(schema) => return Ok(Ok(schema.into())),
            Err(faults) => faults,
        };
        Ok(Err(refused(&faults.iter().map(ToString::to_string).collect::<Vec<_>>())))
    };
    let (old, new) = match (named(old)?, named(new)?) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(code), _) | (_, Err(code)) => return Ok(code),
    };
    let mut text = String::new();
    let mut compatible = true;
    for change in evolve::changes(&old, &new) {
        let (word, allowed) = match change.verdict() {
            Verdict::Allowed => ("ok     ", true),
            Verdict::Widening if allow_widening => ("wider  ", true),
            Verdict::Widening => ("REFUSED", false),
            Verdict::Refused => ("REFUSED", false),
        };
        compatible &= allowed;
        let hint = if change.verdict() == Verdict::Widening && !allow_widening { " (--allow-widening)" } else { "" };
        writeln!(text, "{word}  {change}{hint}")?;
    }
    if text.is_empty() {
        text.push_str("no change that stored events would see\n");
    }
    print(&text)?;
    Ok(if compatible { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
