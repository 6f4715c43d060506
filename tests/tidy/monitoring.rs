//! Dashboards, rules and runbooks against what the code knows: metrics and labels that exist, commands that are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use margay::telemetry;
use serde_json::Value;

use super::{none, read};

/// Suffixes of the series that a histogram has.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Labels that Prometheus adds.
const ADDED: [&str; 5] = ["job", "instance", "namespace", "le", "pod"];

/// Every expression of PromQL that is shipped, with the file that it is in.
fn expressions() -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let dashboard: Value =
        serde_json::from_str(&read("helm/monitoring/dashboard.json")).expect("the dashboard is JSON");
    collect(&dashboard, &mut |text| found.push(("helm/monitoring/dashboard.json", text)));
    collect(&rules(), &mut |text| found.push(("helm/monitoring/rules.yml", text)));
    assert!(found.len() > 50, "only {} expressions were found", found.len());
    found
}

fn rules() -> Value {
    serde_saphyr::from_str(&read("helm/monitoring/rules.yml")).expect("the rules are YAML")
}

fn collect(value: &Value, found: &mut impl FnMut(String)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value {
            Value::String(text) if key == "expr" => found(text.clone()),
            other => collect(other, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The words of an expression that begin with `margay_`, and the labels that stand in the braces behind them.
fn series(expression: &str) -> Vec<(String, Vec<String>)> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let starts = expression.match_indices("margay_").map(|(at, _)| at);
    let starts = starts.filter(|at| !expression[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    starts
        .map(|at| {
            let name = word(&expression[at..]);
            let rest = &expression[at + name.len()..];
            let braces = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
            let labels = braces.split(',').map(|matcher| word(matcher.trim())).filter(|label| !label.is_empty());
            (name, labels.collect())
        })
        .collect()
}

#[test]
fn dashboards_and_rules_show_metrics_that_exist() {
    let declared: BTreeMap<&str, BTreeSet<&str>> =
        telemetry::DECLARATIONS.iter().map(|metric| (metric.name, metric.labels.iter().copied().collect())).collect();
    let mut broken = Vec::new();
    for (file, expression) in expressions() {
        for (name, labels) in series(&expression) {
            let plain = OF_HISTOGRAMS.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
            let Some(known) = declared.get(name.as_str()).or_else(|| declared.get(plain)) else {
                broken.push(format!("{file}: `{name}` is not declared: {expression}"));
                continue;
            };
            let strange =
                labels.iter().filter(|label| !known.contains(label.as_str()) && !ADDED.contains(&label.as_str()));
            broken.extend(strange.map(|label| format!("{file}: `{name}` has no label `{label}`: {expression}")));
        }
    }
    none(broken);
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let runbooks = read("helm/monitoring/runbooks.md");
    let told: BTreeSet<String> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    let rules = rules();
    let groups = rules["groups"].as_array().expect("rules come in groups").iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().expect("a group has rules"));
    let mut known = BTreeSet::new();
    for rule in alerts.filter(|rule| rule.get("alert").is_some()) {
        let name = rule["alert"].as_str().expect("an alert has a name").to_owned();
        let place = rule["annotations"]["runbook"].as_str().unwrap_or_default();
        assert_eq!(place, format!("runbooks.md#{}", name.to_lowercase()));
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()), "{name}");
        known.insert(name);
    }
    assert_eq!(told, known);
}

/// Lines of a page that are commands of margay; what stands in capitals there is for the reader to replace.
fn commands(page: &str) -> Vec<String> {
    let text = read(page);
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        if line.starts_with("```") {
            inside = !inside;
        }
        inside
    });
    let own = lines.filter(|line| line.starts_with("margay "));
    let found: Vec<String> =
        own.map(|line| line.split(" #").next().unwrap_or(line).split(" >").next().unwrap_or(line).to_owned()).collect();
    assert!(!found.is_empty(), "{page} has no command");
    found
}

#[test]
fn pages_give_commands_that_are_taken() {
    let mut broken = Vec::new();
    for page in ["helm/monitoring/runbooks.md", "config/onboarding.md"] {
        for command in commands(page) {
            // What is parsed before `--help` must be known; nothing is run.
            let arguments: Vec<&str> = command.split_whitespace().skip(1).map(|word| word.trim_matches('\'')).collect();
            let output = Command::new(env!("CARGO_BIN_EXE_margay")).args(arguments).arg("--help").output();
            let output = output.expect("run margay");
            if !output.status.success() {
                broken.push(format!("{page}: {command}: {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
    }
    none(broken);
}
