//! `margay alerts attributes`: what the stored events of an alert have in common.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use super::show::no_alert;
use crate::alert::render::{json_line, safe};
use crate::app;
use crate::cli::search::limits_of;
use crate::cli::{ConfigArgument, block_on, complain, print};
use crate::runtime::{Clock, SystemClock};
use crate::search::attributes::{self, Tally, events};
use crate::search::{Limits, Search, output};

#[derive(clap::Args)]
pub(super) struct Attributes {
    #[command(flatten)]
    config: ConfigArgument,
    /// As `alerts list` shows it.
    id: String,
    /// A field, `name` or `name:within:it`; may be given several times, instead of those that the rule names.
    #[arg(long = "by", value_name = "FIELD")]
    by: Vec<String>,
    /// Look at no more events than this.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    limit: usize,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

impl Attributes {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_reading(&config).await?;
            let alert = state.alert(&self.id).await?.with_context(|| no_alert(&self.id))?;
            let names = match self.by.is_empty() {
                true => app::summary_attributes(&config, &alert.rule_id).await,
                false => self.by.clone(),
            };
            let limits = Limits { rows: self.limit, ..limits_of(&config) };
            let search = Search::new(app::tables_for_reading(&config).await?, limits);
            let (mut rows, mut tally) = (search.start(&events(&alert), SystemClock.now()).await?, Tally::new(&names));
            while let Some(batch) = rows.next().await? {
                let lines = output::json_lines(&batch)?;
                String::from_utf8_lossy(lines.as_ref()).lines().for_each(|line| tally.add(line));
            }
            let found = tally.end(rows.is_cut());
            print(&if self.json { json_line(&found) } else { text(&found) })?;
            if found.is_cut {
                let more = more(found.events, self.limit);
                complain(format_args!("there are more events than {}; {more} looks at more", found.events));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// What let it look at so few.
fn more(events: u64, limit: usize) -> &'static str {
    if events < limit as u64 { "a larger `search.max_result_mib`" } else { "--limit" }
}

fn text(found: &attributes::Attributes) -> String {
    let mut text = format!("events {}\n", found.events);
    for attribute in &found.attributes {
        writeln!(text, "{} ({} different)", safe(&attribute.name), attribute.distinct)
            .expect("a string takes any text");
        for one in &attribute.values {
            writeln!(text, "{:>10}  {}", one.events, safe(&one.value)).expect("a string takes any text");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::attributes::{Attribute, Counted};

    #[test]
    fn a_cut_names_the_limit_that_was_met() {
        assert_eq!(more(10, 10), "--limit");
        assert!(more(9, 10).contains("search.max_result_mib"));
    }

    #[test]
    fn a_field_is_a_head_with_its_values_below() {
        let values = vec![Counted { value: "a\u{1b}".into(), events: 3 }];
        let attributes = vec![Attribute { name: "userAgent".into(), values, distinct: 7 }];
        let found = attributes::Attributes { events: 9, is_cut: false, attributes };
        assert_eq!(text(&found), "events 9\nuserAgent (7 different)\n         3  a\\u{1b}\n");
    }
}
