//! `margay test-lookup-table`: reads lookup tables as the daemon would, and looks values up in them.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::schema::LogTypes;
use super::{EXIT_USAGE, block_on, complain, print};
use crate::detect::{self, content};
use crate::lookup::{Data, Definition, Loading, Tables};
use crate::model::Value;
use crate::runtime::blocking;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folders with lookup tables, or their YAML files.
    #[arg(default_value = "rules")]
    paths: Vec<PathBuf>,
    /// A value to look up in each table; may be repeated. What it finds is shown as JSON, a line each.
    #[arg(long = "find", value_name = "VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    log_types: LogTypes,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loading = match arguments.log_types.loading() {
        Ok(loading) => loading,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(format_args!("{fault}")));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let (paths, values) = (arguments.paths.clone(), arguments.values.clone());
    block_on(async {
        let (text, problems) = blocking(move || test(&paths, &values, &loading)).await;
        print(&text)?;
        problems.iter().for_each(|problem| complain(format_args!("{problem}")));
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// What is to be printed, and what is wrong. Tables that are switched off are tested, too.
fn test(paths: &[PathBuf], values: &[String], loading: &Loading) -> (String, Vec<String>) {
    let content = content::read(paths);
    let definitions: Vec<_> = content.tables.iter().map(|table| table.definition.clone()).collect();
    let (tables, faults) = Tables::load(&definitions, loading, &Tables::default());
    let mut text = String::new();
    for definition in &definitions {
        let line = match (&definition.data, tables.get(&definition.name)) {
            (Data::Object(source), _) => {
                format!("its rows are in s3://{}/{}; not read here", source.bucket, source.key)
            }
            (Data::File(_), Some(table)) => format!("{} rows by `{}`", table.rows(), definition.primary_key),
            (Data::File(_), None) => "not read".to_owned(),
        };
        writeln!(text, "{}: {line}{}", definition.name, looked_up(definition)).expect("a String takes all text");
        let Some(table) = tables.get(&definition.name) else { continue };
        for value in values {
            let row = table.row(&Value::str(value), loading.now);
            let row = row.map(|row| serde_json::to_string(&row).expect("a row has string keys"));
            writeln!(text, "{}", row.unwrap_or_else(|| format!("nothing for {value}")))
                .expect("a String takes all text");
        }
    }
    for (kind, items) in content.not_evaluated.iter().filter(|(kind, _)| kind.starts_with("lookup_table")) {
        writeln!(text, "{items} {kind}: not evaluated").expect("a String takes all text");
    }
    let faults = faults.into_iter().map(detect::table_problem).map(|problem| problem.to_string());
    (text, content.problems.iter().map(ToString::to_string).chain(faults).collect())
}

fn looked_up(definition: &Definition) -> String {
    let used = definition.selectors.iter().filter(|(_, selectors)| !selectors.is_empty());
    let types: Vec<&str> = used.map(|(log_type, _)| log_type.as_str()).collect();
    match types.len() {
        0 => String::new(),
        1..=5 => format!(", for {}", types.join(", ")),
        more => format!(", for {more} log types"),
    }
}
