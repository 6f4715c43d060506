//! `margay rules stopped` and `margay rules lift`: rules that are not at work as they were written, over the state that all
//! daemons share. Each daemon finds what was lifted within `alerts.self_check_seconds`.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::alert::render::{json_line, safe};
use crate::app;
use crate::cli::{ConfigArgument, block_on, print};
use crate::model::rfc3339;
use crate::runtime::{Clock, SystemClock};
use crate::state::{self, StoppedRule, stopped};

/// What was lifted that is shown.
const SHOWN: u32 = 20;

#[derive(clap::Args)]
pub(super) struct Stopped {
    #[command(flatten)]
    config: ConfigArgument,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct Lift {
    #[command(flatten)]
    config: ConfigArgument,
    /// As `rules stopped` shows it.
    rule: String,
    /// What others should know about it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who does it, for the record.
    #[arg(long, env = "USER", value_name = "NAME", default_value = "command line")]
    by: String,
}

impl Stopped {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_reading(&config).await?;
            let rules = stopped(&state.noted().await?, &state.storms().await?, SystemClock.now());
            let lifts = state.lifts(SHOWN).await?;
            print(&match self.json {
                true => json_line(&serde_json::json!({ "rules": rules, "lifts": lifts })),
                false => text(&rules, &lifts),
            })?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Lift {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_changing(&config).await?;
            let (rule_id, by, reason) = (self.rule.clone(), self.by.clone(), self.reason.clone());
            let lift = state::Lift { rule_id, at: SystemClock.now(), by, reason };
            let is_lifted = state.lift(&lift).await?;
            anyhow::ensure!(
                is_lifted,
                "nothing is in the way of rule {:?}; `margay rules stopped` lists what is",
                self.rule
            );
            print(&format!("{} goes on\n", safe(&self.rule)))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn text(rules: &[StoppedRule], lifts: &[state::Lift]) -> String {
    let mut text = String::new();
    for StoppedRule { rule_id, why, at, detail } in rules {
        let at = rfc3339(*at);
        writeln!(text, "{}  {} since {at}: {}", safe(rule_id), why.as_str(), safe(detail))
            .expect("a string takes text");
    }
    if rules.is_empty() {
        text.push_str("no rule is stopped\n");
    }
    for state::Lift { rule_id, at, by, reason } in lifts {
        let reason = if reason.is_empty() { String::new() } else { format!(": {}", safe(reason)) };
        let (at, by) = (rfc3339(*at), safe(by));
        writeln!(text, "{at}  {by} let {} go on{reason}", safe(rule_id)).expect("a string takes text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Why;
    use crate::state::fixtures::START;

    #[test]
    fn a_rule_and_a_lift_are_a_line_each() {
        let rule = StoppedRule { rule_id: "A\u{1b}".into(), why: Why::Storm, at: START, detail: "d".into() };
        let lift = state::Lift { rule_id: "B".into(), at: START, by: "ana".into(), reason: "tuned".into() };
        let at = rfc3339(START);
        let expected = format!("A\\u{{1b}}  storm since {at}: d\n{at}  ana let B go on: tuned\n");
        assert_eq!(text(&[rule], &[lift]), expected);
        assert_eq!(text(&[], &[]), "no rule is stopped\n");
    }
}
