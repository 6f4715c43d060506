//! From the folders to a rule set that runs: content is read, bad items are replaced by their last good version or left
//! out, modules are imported by a first worker, guards are made, and the other workers start. Knows nothing of batches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::content::{self, Content, Problem};
use super::engine::DetectError;
use super::generation::Generation;
use super::protocol::{self, LoadFault, Place};
use super::rows;
use super::ruleset::RuleSet;
use super::table_problem;
use super::worker::{WorkerCommand, WorkerError};
use crate::lookup::{Fault, Limits, Loading, Surroundings, Tables};
use crate::model::Alerting;
use crate::runtime::{blocking, blocking_deep};
use crate::telemetry::Telemetry;

/// A failed rule is restored, then loaded again; a helper's restoration can uncover a rule's. More rounds never help.
const LOAD_ROUNDS: usize = 3;

/// What a rule set is loaded from and how it is run.
pub(super) struct LoadPlan {
    pub(super) directories: Vec<PathBuf>,
    pub(super) packs: Vec<String>,
    pub(super) command: WorkerCommand,
    pub(super) workers: usize,
    pub(super) guards: bool,
    /// Ids of rules that alone are evaluated, enabled or not.
    pub(super) only: Option<BTreeSet<String>>,
    pub(super) alerting: Alerting,
    pub(super) surroundings: Surroundings,
    pub(super) table_limits: Limits,
}

/// What runs now.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) generation: Arc<Generation>,
    pub(super) tables: Arc<Tables>,
    /// What stands in for items that break later.
    pub(super) good: Arc<Content>,
}

/// How a load went: what runs now, and everything that was wrong.
#[derive(Debug)]
pub struct LoadReport {
    pub rules: usize,
    pub tables: usize,
    pub scheduled_queries: usize,
    pub problems: Vec<Problem>,
    /// What takes the guards of rules away, and tables that nothing is looked up in.
    pub warnings: Vec<Problem>,
    /// Items of kinds that are not evaluated, by kind.
    pub not_evaluated: BTreeMap<String, usize>,
    /// Why the kernel does not keep rule workers from system calls, where it does not.
    pub unwalled: Option<String>,
}

/// Problems and warnings apart.
pub(super) fn split(faults: Vec<Fault>) -> (Vec<Problem>, Vec<Problem>) {
    let (warnings, problems): (Vec<Fault>, Vec<Fault>) = faults.into_iter().partition(|fault| fault.is_warning);
    let told = |faults: Vec<Fault>| faults.into_iter().map(table_problem).collect();
    (told(problems), told(warnings))
}

impl LoadPlan {
    pub(super) fn moment(&self) -> Loading {
        let Surroundings { log_types, clock } = &self.surroundings;
        Loading { log_types: log_types(), limits: self.table_limits, now: clock.now() }
    }

    /// The tables of the content, and what is wrong with them.
    pub(super) async fn tables(&self, content: &Content, last: &Arc<Tables>) -> (Arc<Tables>, Vec<Fault>) {
        let (tables, faults) = rows::tables_of(content, self.moment(), last).await;
        (Arc::new(tables), faults)
    }

    pub(super) async fn load(
        &self,
        last: Option<&Current>,
        telemetry: &Telemetry,
    ) -> Result<(Current, LoadReport), DetectError> {
        let good = last.map(|last| &*last.good);
        let directories = self.directories.clone();
        let mut content = blocking(move || read_steady(&directories, content::read)).await;
        content.enable_packs(&self.packs);
        if let Some(only) = &self.only {
            content.retain_only(only);
        }
        content.set_alerting(self.alerting);
        content.retain_runnable();
        let mut problems = std::mem::take(&mut content.problems);
        let not_evaluated = std::mem::take(&mut content.not_evaluated);
        if let Some(good) = good {
            content.problems.clone_from(&problems);
            content.restore_unreadable(good);
            content.problems.clear();
        }
        let (tables, faults) = self.tables(&content, &last.map(|last| last.tables.clone()).unwrap_or_default()).await;
        let (of_tables, mut warnings) = split(faults);
        problems.extend(of_tables);
        let mut round = 1;
        let (first, sources, faults) = loop {
            let sources = Arc::new(content.sources());
            let (worker, faults) = match Generation::first_worker(&self.command, &sources).await {
                Err(error @ (WorkerError::LoadStuck { place } | WorkerError::LoadDied { place, .. })) => {
                    // This module alone is left out (or replaced by its last good version): there is one fewer each time.
                    let fault = of_the_load(place, &error);
                    remember(&mut problems, &content, std::slice::from_ref(&fault));
                    if !good.is_some_and(|good| content.restore_faulted(std::slice::from_ref(&fault), good)) {
                        content = content.without(&[fault]);
                    }
                    continue;
                }
                started => started?,
            };
            remember(&mut problems, &content, &faults);
            let restored = good.is_some_and(|good| content.restore_faulted(&faults, good));
            if !restored || round == LOAD_ROUNDS {
                break (worker, sources, faults);
            }
            round += 1;
        };
        let mut set = RuleSet::new(&content, sources, &faults);
        if self.guards {
            let faults = faults.clone();
            set = blocking_deep(move || set.guarded(&faults)).await;
        }
        warnings.extend(rows::unknown(&content, &tables));
        warnings.extend(content.rules_without_rows());
        warnings.extend(set.reflections().iter().map(|(place, found)| content.guard_warning(*place, found)));
        let unwalled = first.unwalled().map(str::to_owned);
        let command = self.command.clone();
        let generation = Generation::start(set, command, first, self.workers, telemetry.clone()).await?;
        let report = LoadReport {
            rules: content.rules.len() - faults.iter().filter(|fault| is_rule(fault)).count(),
            tables: tables.len(),
            scheduled_queries: content.scheduled_queries().len(),
            problems,
            warnings,
            not_evaluated,
            unwalled,
        };
        let good = Arc::new(content.without(&faults));
        Ok((Current { generation: Arc::new(generation), tables, good }, report))
    }
}

/// Folders may be links that are swapped while they are read: then what was read is of two states, and is read again.
fn read_steady(directories: &[PathBuf], mut read: impl FnMut(&[PathBuf]) -> Content) -> Content {
    /// Swaps are minutes apart.
    const TIMES: usize = 3;
    let targets = || directories.iter().map(|directory| directory.canonicalize().ok()).collect::<Vec<_>>();
    let mut before = targets();
    for _ in 1..TIMES {
        let content = read(directories);
        let after = targets();
        if after == before {
            return content;
        }
        before = after;
    }
    read(directories)
}

fn remember(problems: &mut Vec<Problem>, content: &Content, faults: &[LoadFault]) {
    for fault in faults {
        let problem = content.load_problem(fault);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

/// An import that no worker survives.
fn of_the_load(place: Place, error: &WorkerError) -> LoadFault {
    let (error_type, message) = match error {
        WorkerError::LoadDied { how, .. } => {
            ("RuleCrash", format!("the import of this module ended its process: {how}"))
        }
        _ => {
            let said = "the import of this module did not end; look for a loop outside of its functions";
            ("RuleTimeout", said.to_owned())
        }
    };
    let short_error = format!("{error_type}({message:?})");
    LoadFault {
        place,
        fault: protocol::Fault { error_type: error_type.into(), short_error, message, ..protocol::Fault::default() },
        line: None,
    }
}

fn is_rule(fault: &LoadFault) -> bool {
    matches!(fault.place, Place::Rule(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_swapped_while_it_is_read_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        for generation in ["old", "new"] {
            let place = folder.path().join(generation);
            std::fs::create_dir(&place).unwrap();
            let text = format!("AnalysisType: pack\nPackID: {generation}\nPackDefinition: {{IDs: [a]}}\n");
            std::fs::write(place.join("pack.yml"), text).unwrap();
        }
        let current = folder.path().join("current");
        let point_to = |generation: &str| {
            let next = folder.path().join("next");
            std::os::unix::fs::symlink(generation, &next).unwrap();
            std::fs::rename(next, &current).unwrap();
        };
        point_to("old");
        let mut reads = Vec::new();
        let content = read_steady(std::slice::from_ref(&current), |folders| {
            let content = content::read(folders);
            reads.push(content.packs[0].spec.pack_id.clone());
            if reads.len() == 1 {
                point_to("new");
            }
            content
        });
        assert_eq!(reads, ["old", "new"]);
        assert_eq!(content.packs[0].spec.pack_id, "new");
    }
}
