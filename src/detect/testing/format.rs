//! Test results as text for people (the conventional layout, which CI parsers read), as JSON lines and as JUnit's XML. Pure.

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

/// How the conventional layout is shown.
#[derive(Clone, Copy, Default)]
pub struct Shown {
    /// For terminals.
    pub color: bool,
    pub only_failed: bool,
}

/// The conventional layout.
pub fn text(report: &TestReport, shown: Shown) -> String {
    let mut out = String::new();
    for rule in report.rules.iter().filter(|rule| !shown.only_failed || !rule.passed()) {
        rule_text(&mut out, rule, shown.color);
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
            let names = rule.cases.iter().flat_map(failed_names).chain(rule.lack.clone());
            let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
            line(&mut out, format_args!("\t\t[{}]\n", names.join(", ")));
        }
    }
    let paths: Vec<String> = report.directories.iter().map(|path| path.display().to_string()).collect();
    line(&mut out, format_args!("{RULE_LINE}\nTest Summary\n\tPath: {}", paths.join(", ")));
    line(&mut out, format_args!("\tPassed: {}", report.rules.len() - failed.len()));
    line(&mut out, format_args!("\tSkipped: {}", report.skipped));
    line(&mut out, format_args!("\tFailed: {}", failed.len()));
    line(&mut out, format_args!("\tInvalid: {}", report.invalid.len()));
    out
}

/// One test suite a detection, one test case a case.
pub fn junit(report: &TestReport) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"margay\">\n");
    for rule in &report.rules {
        let failures = rule.cases.iter().filter(|case| !case.passed).count() + usize::from(rule.lack.is_some());
        let tests = rule.cases.len() + usize::from(rule.lack.is_some());
        let id = xml(&rule.id);
        line(&mut out, format_args!("  <testsuite name=\"{id}\" tests=\"{tests}\" failures=\"{failures}\">"));
        for case in &rule.cases {
            junit_case(&mut out, &id, &case.name, (!case.passed).then(|| why(case)));
        }
        if let Some(lack) = &rule.lack {
            junit_case(&mut out, &id, "minimum tests", Some(lack.clone()));
        }
        line(&mut out, format_args!("  </testsuite>"));
    }
    if !report.invalid.is_empty() {
        let count = report.invalid.len();
        line(&mut out, format_args!("  <testsuite name=\"invalid\" tests=\"{count}\" failures=\"{count}\">"));
        for problem in &report.invalid {
            junit_case(&mut out, "invalid", &problem.file.display().to_string(), Some(problem.to_string()));
        }
        line(&mut out, format_args!("  </testsuite>"));
    }
    out.push_str("</testsuites>\n");
    out
}

fn junit_case(out: &mut String, suite: &str, name: &str, failure: Option<String>) {
    let name = xml(name);
    match failure {
        None => line(out, format_args!("    <testcase classname=\"{suite}\" name=\"{name}\"/>")),
        Some(failure) => {
            line(out, format_args!("    <testcase classname=\"{suite}\" name=\"{name}\">"));
            line(out, format_args!("      <failure message=\"{}\"/>", xml(&failure)));
            line(out, format_args!("    </testcase>"));
        }
    }
}

/// Why a case failed, in one line.
fn why(case: &CaseReport) -> String {
    let faults = case.functions.faults.iter();
    let faults: Vec<String> =
        faults.map(|(function, fault)| format!("{function}: {}: {}", fault.error_type, fault.message)).collect();
    if faults.is_empty() { format!("expected {}", case.expected) } else { faults.join("; ") }
}

/// Text in an attribute. XML has no place for most control characters, not even escaped.
fn xml(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    quick_xml::escape::escape(shown.as_str()).into_owned()
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
                lack: None,
            }],
            invalid: Vec::new(),
            skipped: 2,
        }
    }

    #[test]
    fn the_conventional_layout() {
        insta::assert_snapshot!(text(&report(), Shown::default()));
    }

    #[test]
    fn json_lines_name_functions_and_errors() {
        insta::assert_snapshot!(jsonl(&report()));
    }
    #[test]
    fn junit_has_a_suite_a_detection() {
        let mut report = report();
        report.rules[0].lack = Some("3 tests are required, 2 found".into());
        insta::assert_snapshot!(junit(&report));
    }

    #[test]
    fn what_passed_can_be_left_out() {
        let mut report = report();
        let only_failed = Shown { only_failed: true, ..Shown::default() };
        assert!(text(&report, only_failed).starts_with("A.Rule\n"));
        report.rules[0].cases.pop();
        assert!(text(&report, only_failed).starts_with(RULE_LINE));
    }
}
