//! Which rules are meant.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cli::nearest;
use crate::detect::content::{self, Content};
use crate::detect::protocol::RuleKind;
use crate::runtime::blocking;

/// Rules by id, and where they and their helpers lie.
pub(super) struct Chosen {
    pub(super) ids: BTreeSet<String>,
    pub(super) log_types: BTreeSet<String>,
    pub(super) folders: Vec<PathBuf>,
    /// Some keep what one event tells for the next: the order of the events counts.
    pub(super) keep: bool,
}

/// `names` are ids, YAML files and folders. Those that lie outside of the folders are read beside them.
pub(super) async fn choose(names: &[String], mut folders: Vec<PathBuf>) -> Result<Chosen, String> {
    let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    for path in &paths {
        if !folders.iter().any(|folder| is_below(path, folder)) {
            folders.push(path.clone());
        }
    }
    let read = folders.clone();
    let content = blocking(move || content::read(&read)).await;
    let mut ids = BTreeSet::new();
    if names.is_empty() {
        ids.extend(runnable(&content).filter(|rule| rule.enabled).map(|rule| rule.meta.id.to_string()));
    }
    for name in names {
        let path = Path::new(name);
        let before = ids.len();
        match path.exists() {
            // Of a folder only what is enabled; a file is named for its rule.
            true => ids.extend(
                runnable(&content)
                    .filter(|rule| is_below(&rule.origin, path) && (rule.enabled || path.is_file()))
                    .map(|rule| rule.meta.id.to_string()),
            ),
            false => ids.extend(runnable(&content).map(|rule| rule.meta.id.to_string()).filter(|id| id == name)),
        }
        if ids.len() == before
            && !runnable(&content).any(|rule| *rule.meta.id == **name || is_below(&rule.origin, path))
        {
            return Err(nothing(name, &content));
        }
    }
    let own = || runnable(&content).filter(|rule| ids.contains(&*rule.meta.id));
    let log_types = own().flat_map(|rule| rule.log_types.iter().cloned()).collect();
    let keep = own().any(|rule| keeps(&rule.module.source, &content));
    if ids.is_empty() {
        return Err(format!("no rule over log types is enabled in {}", shown(&folders)));
    }
    Ok(Chosen { ids, log_types, folders, keep })
}

/// Modules of the functions with which rules keep something between events.
const KEEPING: [&str; 2] = ["panther_detection_helpers", "panther_oss_helpers"];

/// Whether a module names one of these, or a helper that does. Naming is enough: one too many only costs time.
fn keeps(source: &str, content: &Content) -> bool {
    let mut seen = BTreeSet::new();
    let mut sources = vec![source];
    while let Some(source) = sources.pop() {
        if KEEPING.iter().any(|name| source.contains(name)) {
            return true;
        }
        for global in content.globals.iter().filter(|global| source.contains(&global.module.name)) {
            if seen.insert(&global.module.name) {
                sources.push(&global.module.source);
            }
        }
    }
    false
}

/// Others are not run on events.
fn runnable(content: &Content) -> impl Iterator<Item = &content::Rule> {
    content.rules.iter().filter(|rule| rule.kind == RuleKind::Rule)
}

fn is_below(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(folder))
}

/// What is wrong with a name that stands for no rule.
fn nothing(name: &str, content: &Content) -> String {
    if let Some(problem) = content.problems.iter().find(|problem| {
        problem.item.as_deref() == Some(name) || (Path::new(name).exists() && is_below(&problem.file, Path::new(name)))
    }) {
        return problem.to_string();
    }
    if content.rules.iter().any(|rule| *rule.meta.id == *name) {
        return format!("{name} does not run on events: it is a scheduled rule or a policy");
    }
    let near = nearest(name, runnable(content).map(|rule| &*rule.meta.id));
    format!("{name:?} is no file and no rule that runs on events{near}")
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}
