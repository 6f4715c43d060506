//! The tables of the README against what the code knows: every metric, every configuration key, both ways.

use std::collections::{BTreeMap, BTreeSet};

use margay::{config, telemetry};

use super::{none, read};

/// The rows of all tables under a heading `## …`: the names in the first cell, and the whole row.
fn rows(heading: &str) -> BTreeMap<String, String> {
    let readme = read("README.md");
    let mut lines = readme.lines();
    let title = format!("## {heading}");
    lines.find(|line| line.trim() == title).unwrap_or_else(|| panic!("README.md has no heading `{title}`"));
    let section = lines.take_while(|line| !line.starts_with("## ") && !line.starts_with("# "));
    let mut rows = BTreeMap::new();
    for row in section.filter(|line| line.starts_with('|')) {
        let first = row.trim_start_matches('|').split('|').next().unwrap_or_default();
        rows.extend(names(first).into_iter().map(|name| (name, row.to_owned())));
    }
    assert!(!rows.is_empty(), "README.md has no table under `{title}` whose first column holds names in backticks");
    rows
}

/// What stands in backticks.
fn names(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_readme_tells_every_metric_and_no_other() {
    let mut told = rows("Metrics");
    // Those of the process itself have other names and are Prometheus' own.
    told.retain(|name, _| name.starts_with("margay_"));
    let mut broken = Vec::new();
    for metric in telemetry::DECLARATIONS {
        let kind = metric.kind.as_str();
        let labels: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        let list = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let wanted = format!("| `{}` | {kind} | {list} | {} |", metric.name, metric.help);
        match told.remove(metric.name) {
            None => broken.push(format!("missing: {wanted}")),
            Some(row) if !row.contains(kind) || !labels.is_subset(&names(&row)) => {
                broken.push(format!("wrong type or labels: {row}\n  should be like: {wanted}"));
            }
            Some(_) => {}
        }
    }
    broken.extend(told.keys().map(|name| format!("README.md tells of `{name}`, which is not declared")));
    none(broken);
}

#[test]
fn the_readme_tells_every_configuration_key_and_no_other() {
    // Entries of lists may be written with or without brackets.
    let plain = |key: &String| key.replace("[]", "");
    let told: BTreeSet<String> = rows("Configuration").keys().map(plain).collect();
    let known: BTreeSet<String> = config::keys().iter().map(plain).collect();
    let missing = known.difference(&told).map(|key| format!("README.md has no row for the key `{key}`"));
    let unknown = told.difference(&known).map(|key| format!("README.md tells of `{key}`, which is no key"));
    none(missing.chain(unknown).collect());
}

#[test]
fn the_readme_tells_every_command_and_no_other() {
    let help = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_margay")).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // One that works without a command of its own has a usage of its own.
        let alone = text.lines().any(|line| line.starts_with("Usage:") && !line.contains("<COMMAND>"));
        let commands = text.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        let names = commands.lines().filter_map(|line| line.split_whitespace().next());
        (names.filter(|name| *name != "help").map(str::to_owned).collect::<Vec<_>>(), alone)
    };
    let mut known = BTreeSet::new();
    for command in help(&["--help"]).0 {
        let (inner, alone) = help(&[&command, "--help"]);
        known.extend(inner.iter().map(|inner| format!("{command} {inner}")));
        if alone {
            known.insert(command);
        }
    }
    // Options that a row shows are not part of the command's name.
    let plain = |name: &String| name.trim_start_matches("margay ").split(" --").next().unwrap_or_default().to_owned();
    let told: BTreeSet<String> = rows("Commands").keys().map(plain).collect();
    assert_eq!(told, known);
}
