//! `margay rules top`: what each rule of a running daemon has cost since its start, the dearest first.

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;

use crate::alert::render::{json_line, safe};
use crate::cli::{block_on, health, print, table};
use crate::telemetry::RuleProfile;

/// The most of an answer that is read; each rule takes some three hundred bytes of it.
const LONGEST: u64 = 64 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Top {
    /// Address of the HTTP server (`http.listen`).
    #[arg(long, env = "MARGAY_HTTP__LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9600")]
    addr: SocketAddr,
    /// What decides the order.
    #[arg(long, value_enum, default_value = "time")]
    by: By,
    /// At most this many rules.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// `table` for people, `json` for programs: one array.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum By {
    /// Seconds in Python.
    Time,
    /// The longest call.
    Longest,
    /// Seconds of waiting for what rules keep and for rows of lookup tables.
    Waiting,
    /// Events of the rule's log types.
    Evaluations,
    /// Events that its guard turned away.
    Rejections,
    /// Events that Python had to decide.
    Calls,
    Matches,
    Errors,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// The answer of the daemon.
#[derive(Deserialize)]
struct Answer {
    rules: Vec<RuleProfile>,
}

impl Top {
    pub(super) fn run(&self) -> ExitCode {
        block_on(async {
            let address = health::reachable(self.addr);
            let answer = health::ask(address, "/rules", LONGEST)
                .with_context(|| format!("no daemon answers at {address}; `--addr` names another address"))?;
            let read = serde_json::from_str(&answer.text);
            let Answer { rules } = read.with_context(|| {
                let said = answer.text.lines().next().unwrap_or_default();
                format!("{address} answers with {said:?}, which is no profile of rules")
            })?;
            let all: f64 = rules.iter().map(|rule| rule.seconds).sum();
            let rules = sorted(rules, self.by, self.limit);
            print(&match self.format {
                Format::Table => text(&rules, all),
                Format::Json => json_line(&rules),
            })?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// The first `limit` of those that have anything of what is asked for.
fn sorted(mut rules: Vec<RuleProfile>, by: By, limit: usize) -> Vec<RuleProfile> {
    let count = |rule: &RuleProfile| match by {
        By::Time | By::Longest | By::Waiting => 0,
        By::Evaluations => rule.evaluations,
        By::Rejections => rule.guard_rejections,
        By::Calls => rule.python_calls,
        By::Matches => rule.matches,
        By::Errors => rule.errors,
    };
    let seconds = |rule: &RuleProfile| match by {
        By::Time => rule.seconds,
        By::Longest => rule.longest_seconds,
        By::Waiting => rule.waited_seconds,
        _ => 0.0,
    };
    rules.retain(|rule| count(rule) > 0 || seconds(rule) > 0.0);
    let dearer = |a: &RuleProfile, b: &RuleProfile| -> Ordering {
        let size = count(b).cmp(&count(a)).then(seconds(b).total_cmp(&seconds(a)));
        size.then_with(|| a.rule.cmp(&b.rule))
    };
    rules.sort_by(dearer);
    rules.truncate(limit);
    rules
}

fn text(rules: &[RuleProfile], all: f64) -> String {
    let head = [
        "RULE",
        "SECONDS",
        "SHARE",
        "US/CALL",
        "LONGEST MS",
        "WAITED",
        "EVALUATIONS",
        "REJECTED",
        "CALLS",
        "MATCHES",
        "ERRORS",
    ];
    let rows = rules.iter().map(|rule| {
        [
            safe(&rule.rule),
            format!("{:.3}", rule.seconds),
            format!("{:.1}%", if all > 0.0 { rule.seconds / all * 100.0 } else { 0.0 }),
            format!("{:.1}", if rule.python_calls > 0 { rule.seconds * 1e6 / rule.python_calls as f64 } else { 0.0 }),
            format!("{:.1}", rule.longest_seconds * 1e3),
            format!("{:.3}", rule.waited_seconds),
            rule.evaluations.to_string(),
            rule.guard_rejections.to_string(),
            rule.python_calls.to_string(),
            rule.matches.to_string(),
            rule.errors.to_string(),
        ]
    });
    table::text(std::iter::once(head.map(str::to_owned)).chain(rows), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dearest_come_first_and_what_cost_nothing_is_left_out() {
        let rule = |name: &str, calls: u64, seconds: f64| RuleProfile {
            rule: name.into(),
            python_calls: calls,
            seconds,
            ..RuleProfile::default()
        };
        let all = || vec![rule("A", 1, 0.5), rule("B", 9, 0.1), rule("C", 0, 0.0), rule("D", 9, 0.2)];
        let names = |by, limit| sorted(all(), by, limit).into_iter().map(|rule| rule.rule).collect::<Vec<_>>();
        assert_eq!(names(By::Time, 9), ["A", "D", "B"]);
        assert_eq!(names(By::Calls, 2), ["B", "D"]);
        assert_eq!(names(By::Errors, 9), [""; 0]);
        let shown = text(&sorted(all(), By::Time, 1), 0.8);
        assert_eq!(
            shown.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(),
            ["A", "0.500", "62.5%", "500000.0", "0.0", "0.000", "0", "0", "1", "0", "0"]
        );
    }
}
