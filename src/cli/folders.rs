//! Folders with detections, as people name them who keep a checkout of rules.

use std::path::{Path, PathBuf};

/// Folders of the working folder in which helpers and data models lie that rules elsewhere import.
const BESIDE: [&str; 2] = ["global_helpers", "data_models"];

/// Parts of the names of folders that hold detections, in a checkout that holds more than that.
const CONTENT: [&str; 8] =
    ["rules", "policies", "queries", "data_models", "helpers", "lookup_tables", "packs", "scheduled"];

/// One folder, given in one of two ways.
#[derive(clap::Args)]
pub(super) struct FolderArgument {
    /// Folder with detections, read recursively; `rules` without one.
    folder: Option<PathBuf>,
    /// The other way to write it.
    #[arg(long, value_name = "FOLDER", conflicts_with = "folder")]
    path: Option<PathBuf>,
}

impl FolderArgument {
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.as_ref().or(self.path.as_ref()).cloned().unwrap_or_else(|| "rules".into())
    }
}

/// What is read for these: of the working folder only what is named for detections (a checkout has examples, scenarios and
/// configuration of its tools as well), and the helpers and data models of the working folder in any case.
pub(super) fn read_for(folders: &[PathBuf]) -> Vec<PathBuf> {
    read_below(Path::new("."), folders)
}

fn read_below(working: &Path, folders: &[PathBuf]) -> Vec<PathBuf> {
    let real = |path: &Path| working.join(path).canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut all = Vec::new();
    for folder in folders {
        let content = if real(folder) == real(Path::new("")) { content_of(&working.join(folder)) } else { Vec::new() };
        if content.is_empty() {
            all.push(folder.clone());
        }
        all.extend(content.into_iter().map(|name| folder.join(name)));
    }
    for name in BESIDE {
        let beside = PathBuf::from(name);
        let is_read =
            |folder: &PathBuf| real(&beside).starts_with(real(folder)) || real(folder).starts_with(real(&beside));
        if working.join(&beside).is_dir() && !all.iter().any(is_read) {
            all.push(beside);
        }
    }
    all
}

/// Names, in their order.
fn content_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.') && CONTENT.iter().any(|part| name.contains(part)));
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folders: &[&str], named: &[&str]) -> Vec<String> {
        let working = tempfile::tempdir().unwrap();
        folders.iter().for_each(|folder| std::fs::create_dir_all(working.path().join(folder)).unwrap());
        let named: Vec<PathBuf> = named.iter().map(PathBuf::from).collect();
        read_below(working.path(), &named).iter().map(|folder| folder.display().to_string()).collect()
    }

    #[test]
    fn a_checkout_is_its_folders_of_detections() {
        let checkout =
            ["rules/a", "templates", "global_helpers/x", "data_models", "test_scenarios", ".git", "correlation_rules"];
        assert_eq!(read(&checkout, &["."]), ["./correlation_rules", "./data_models", "./global_helpers", "./rules"]);
        assert_eq!(read(&checkout, &["rules/a"]), ["rules/a", "global_helpers", "data_models"]);
        assert_eq!(
            read(&checkout, &["rules", "global_helpers/x", "templates"]),
            ["rules", "global_helpers/x", "templates", "data_models"]
        );
    }

    #[test]
    fn what_is_no_checkout_is_read_as_it_is() {
        assert_eq!(read(&["mine"], &["."]), ["."]);
        assert_eq!(read(&["mine"], &["mine", "nowhere"]), ["mine", "nowhere"]);
    }
}
