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

/// What is read for these: of a working folder that is a checkout only what is named for detections (it has examples,
/// scenarios and configuration of its tools as well), and the helpers and data models of the working folder in any case.
pub(super) fn read_for(folders: &[PathBuf]) -> Vec<PathBuf> {
    read_below(Path::new("."), folders)
}

/// What is read for these of a configuration: each whole, as the daemon reads it, and helpers and data models likewise.
pub(super) fn read_whole(folders: &[PathBuf]) -> Vec<PathBuf> {
    with_beside(Path::new("."), folders.to_vec())
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
    with_beside(working, all)
}

fn with_beside(working: &Path, mut all: Vec<PathBuf>) -> Vec<PathBuf> {
    let real = |path: &Path| working.join(path).canonicalize().unwrap_or_else(|_| path.to_owned());
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

/// Names, in their order; none unless it is a checkout. A folder of rules has folders named after what they are about, of
/// which one may be called `helpers`: nothing of it may be left out.
fn content_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.map(|entry| entry.path()).partition(|path| path.is_dir());
    let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let mut names: Vec<String> = folders.into_iter().filter_map(name).collect();
    let has_rules = names.iter().any(|name| name == "rules" || name.ends_with("_rules"));
    if !has_rules || files.iter().any(|file| is_detection(file)) {
        return Vec::new();
    }
    names.retain(|name| !name.starts_with('.') && CONTENT.iter().any(|part| name.contains(part)));
    names.sort();
    names
}

fn is_detection(file: &Path) -> bool {
    let is_yaml = file.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
    is_yaml && std::fs::read_to_string(file).is_ok_and(|text| text.contains("AnalysisType"))
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
        // A folder of rules: `cd rules && margay test .`
        assert_eq!(read(&["aws_cloudtrail", "helpers", "lookup_tables", "okta"], &["."]), ["."]);
    }

    #[test]
    fn detections_beside_folders_are_not_left_out() {
        let working = tempfile::tempdir().unwrap();
        std::fs::create_dir(working.path().join("rules")).unwrap();
        let read = || read_below(working.path(), &[".".into()]);
        std::fs::write(working.path().join("tool.yml"), "steps: []\n").unwrap();
        assert_eq!(read(), [Path::new("./rules")]);
        std::fs::write(working.path().join("mine.yml"), "AnalysisType: rule\n").unwrap();
        assert_eq!(read(), [Path::new(".")]);
    }

    #[test]
    fn what_is_configured_is_read_whole() {
        let working = tempfile::tempdir().unwrap();
        ["rules", "mine"].iter().for_each(|name| std::fs::create_dir(working.path().join(name)).unwrap());
        assert_eq!(with_beside(working.path(), vec![".".into()]), [Path::new(".")]);
    }
}
