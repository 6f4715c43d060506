//! `margay alerts set` and `margay alerts resend`: the daemon, if it runs, sees the change at once.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context as _;

use super::show::no_alert;
use crate::app;
use crate::cli::{ConfigArgument, block_on, print};
use crate::model::AlertStatus;
use crate::runtime::{Clock, SystemClock};
use crate::state::TriageChange;

#[derive(clap::Args)]
pub(super) struct Set {
    #[command(flatten)]
    config: ConfigArgument,
    /// One or several, as `alerts list` shows them.
    #[arg(required = true)]
    ids: Vec<String>,
    /// OPEN, TRIAGED, CLOSED or RESOLVED.
    #[arg(long)]
    status: Option<AlertStatus>,
    /// Who works on it; empty for nobody.
    #[arg(long, value_name = "NAME")]
    assignee: Option<String>,
    /// Something to remember.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Who changes it, for the history.
    #[arg(long, env = "USER", value_name = "NAME", default_value = "command line")]
    by: String,
}

#[derive(clap::Args)]
pub(super) struct Resend {
    #[command(flatten)]
    config: ConfigArgument,
    /// As `alerts list` shows it.
    id: String,
    /// Only there; may be given several times, also for a destination that it has not gone to.
    #[arg(long = "to", value_name = "NAME")]
    to: Vec<String>,
    /// Who sends it, for the history.
    #[arg(long, env = "USER", value_name = "NAME", default_value = "command line")]
    by: String,
}

impl Set {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let (status, assignee, comment) = (self.status, self.assignee.clone(), self.comment.clone());
            let tell = config.alerts.receivers().into_iter().filter(|one| one.ends_incidents).map(|one| one.name);
            let change = TriageChange { status, assignee, comment, tell: tell.collect() };
            anyhow::ensure!(!change.is_empty(), "nothing to set; give --status, --assignee or --comment");
            let state = app::state_for_changing(&config).await?;
            let changed = state.triage(&self.ids, &change, &self.by, SystemClock.now()).await?;
            let missing = self.ids.iter().find(|id| !changed.contains(id));
            if let Some(id) = missing {
                anyhow::bail!("{}; {} others were changed", no_alert(id), changed.len());
            }
            print(&format!("{} changed\n", changed.len()))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Resend {
    pub(super) fn run(&self) -> ExitCode {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(code) => return code,
        };
        block_on(async {
            let state = app::state_for_changing(&config).await?;
            let alert = state.alert(&self.id).await?.with_context(|| no_alert(&self.id))?;
            let receivers = config.alerts.receivers();
            let names = match self.to.is_empty() {
                true => alert.delivery_responses.iter().map(|sent| sent.destination_id.clone()).collect(),
                false => self.to.clone(),
            };
            let names: BTreeSet<String> = names.into_iter().collect();
            anyhow::ensure!(!names.is_empty(), "alert {} went nowhere; name a destination with --to", self.id);
            if let Some(name) = names.iter().find(|name| !receivers.iter().any(|one| one.name == **name && one.enabled))
            {
                anyhow::bail!("there is no enabled destination `{name}`; `margay destinations list` shows them");
            }
            let names: Vec<String> = names.into_iter().collect();
            state.resend(&self.id, &names, &self.by, SystemClock.now()).await?;
            print(&format!("will be sent to {}\n", names.join(", ")))?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
