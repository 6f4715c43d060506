//! Test results as text for people (the conventional layout, which CI parsers read) and as JSON lines. Pure.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::{CaseReport, RuleReport, TestReport};
use crate::detect::protocol::Fault;

const RULE_LINE: &str = "--------------------------";

/// One line a case: `rule_id`, `test`, `passed`, `functions`, `errors`.
pub fn jsonl(report: &TestReport) -> String {
    let mut out = String::new();
    for rule in &report.rules {
        for case in &rule.cases {
            let functions = &case.functions;
            let context = functions.alert_context.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
            let errors: Map<String, Value> =
                functions.faults.iter().map(|(name, fault)| (name.clone(), fault.message.clone().into())).collect();
            let line = json!({
                "rule_id": rule.id,
                "test": case.name,
                "passed": case.passed,
                "functions": {
                    "rule": functions.rule,
                    "title": functions.title,
                    "dedup": case.dedup,
                    "severity": functions.severity,
                    "description": functions.description,
                    "reference": functions.reference,
                    "runbook": functions.runbook,
                    "unique": functions.unique,
                    "alert_context": context,
                },
                "errors": errors,
            });
            writeln!(out, "{line}").expect("a String takes all text");
        }
    }
    out
}

/// The conventional layout. `color` is for terminals.
pub fn text(report: &TestReport, color: bool) -> String {
    let mut out = String::new();
    for rule in &report.rules {
        rule_text(&mut out, rule, color);
    }
    let failed: Vec<&RuleReport> = report.rules.iter().filter(|rule| !rule.passed()).collect();
    if !report.invalid.is_empty() {
        line(&mut out, format_args!("{RULE_LINE}\nInvalid Tests Summary"));
        for problem in &report.invalid {
            line(&mut out, format_args!("\t{problem}"));
        }
        line(&mut out, format_args!(""));
    }
    if !failed.is_empty() {
        line(&mut out, format_args!("{RULE_LINE}\nFailed Tests Summary"));
        for rule in &failed {
            line(&mut out, format_args!("\t{}", rule.id));
            let names: Vec<String> = rule.cases.iter().flat_map(failed_names).map(|name| format!("'{name}'")).collect();
            line(&mut out, format_args!("\t\t[{}]\n", names.join(", ")));
        }
    }
    let paths: Vec<String> = report.directories.iter().map(|path| path.display().to_string()).collect();
    line(&mut out, format_args!("{RULE_LINE}\nTest Summary\n\tPath: {}", paths.join(", ")));
    line(&mut out, format_args!("\tPassed: {}", report.rules.len() - failed.len()));
    line(&mut out, format_args!("\tSkipped: 0"));
    line(&mut out, format_args!("\tFailed: {}", failed.len()));
    line(&mut out, format_args!("\tInvalid: {}", report.invalid.len()));
    out
}

fn rule_text(out: &mut String, rule: &RuleReport, color: bool) {
    line(out, format_args!("{}", rule.id));
    for case in &rule.cases {
        line(out, format_args!("\t{} {}", verdict(case.passed, color), case.name));
        let functions = &case.functions;
        match (functions.rule, functions.faults.get("rule")) {
            (_, Some(fault)) => function_line(out, color, "rule", Err(fault)),
            (result, None) => {
                let text = result.map_or("null".into(), |result| result.to_string());
                let passed = result == Some(case.expected);
                line(out, format_args!("\t\t{} [rule] {text}", verdict(passed, color)));
            }
        }
        if case.expected {
            auxiliary_lines(out, rule, case, color);
        }
    }
    line(out, format_args!(""));
}

fn auxiliary_lines(out: &mut String, rule: &RuleReport, case: &CaseReport, color: bool) {
    let functions = &case.functions;
    let destinations = functions.destinations.as_ref().map(|names| json!(names).to_string());
    let all: [(&str, &str, Option<&String>); 8] = [
        ("title", "title", functions.title.as_ref()),
        ("dedup", "dedup", case.dedup.as_ref()),
        ("alert_context", "alertContext", functions.alert_context.as_ref()),
        ("description", "description", functions.description.as_ref()),
        ("reference", "reference", functions.reference.as_ref()),
        ("severity", "severity", functions.severity.as_ref()),
        ("runbook", "runbook", functions.runbook.as_ref()),
        ("destinations", "destinations", destinations.as_ref()),
    ];
    for (function, shown, value) in all {
        if let Some(fault) = functions.faults.get(function) {
            function_line(out, color, shown, Err(fault));
        } else if let Some(value) = value
            && (rule.create_alert || function == "alert_context")
        {
            function_line(out, color, shown, Ok(value));
        }
    }
}

fn function_line(out: &mut String, color: bool, name: &str, result: Result<&str, &Fault>) {
    match result {
        Ok(value) => line(out, format_args!("\t\t{} [{name}] {value}", verdict(true, color))),
        Err(fault) => {
            let verdict = verdict(false, color);
            line(out, format_args!("\t\t{verdict} [{name}] {}: {}", fault.error_type, fault.message));
        }
    }
}

/// `case`, or `case:function` for each function that failed it.
fn failed_names(case: &CaseReport) -> Vec<String> {
    if case.passed {
        return Vec::new();
    }
    let mut names = vec![case.name.clone()];
    if case.expected {
        names.extend(case.functions.faults.keys().map(|function| format!("{}:{function}", case.name)));
    }
    names
}

fn verdict(passed: bool, color: bool) -> &'static str {
    match (passed, color) {
        (true, false) => "[PASS]",
        (false, false) => "[FAIL]",
        (true, true) => "[\x1b[32mPASS\x1b[0m]",
        (false, true) => "[\x1b[31mFAIL\x1b[0m]",
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::protocol::Functions;

    fn report() -> TestReport {
        let good = Functions { rule: Some(true), title: Some("A title".into()), ..Functions::default() };
        let fault = Fault { error_type: "KeyError".into(), message: "'x': a.py, line 2".into(), ..Fault::default() };
        let bad = Functions { rule: Some(true), faults: [("title".to_owned(), fault)].into(), ..Functions::default() };
        let case = |name: &str, passed, functions| CaseReport {
            name: name.into(),
            expected: true,
            passed,
            functions,
            dedup: Some("d".into()),
        };
        TestReport {
            directories: vec!["rules".into()],
            rules: vec![RuleReport {
                id: "A.Rule".into(),
                create_alert: true,
                cases: vec![case("good", true, good), case("bad", false, bad)],
            }],
            invalid: Vec::new(),
        }
    }

    #[test]
    fn the_conventional_layout() {
        insta::assert_snapshot!(text(&report(), false));
    }

    #[test]
    fn json_lines_name_functions_and_errors() {
        insta::assert_snapshot!(jsonl(&report()));
    }
}
