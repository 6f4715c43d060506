//! House rules as tests: what the compiler and clippy can't say. They read the repository's own text and need no
//! service; a failure names the file and the rule.

#[path = "tidy/layering.rs"]
mod layering;
#[path = "tidy/licences.rs"]
mod licences;
#[path = "tidy/migrations.rs"]
mod migrations;
#[path = "tidy/monitoring.rs"]
mod monitoring;
#[path = "tidy/readme.rs"]
mod readme;
#[path = "tidy/shipped.rs"]
mod shipped;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} can't be read: {error}"))
}

/// Every Rust file under `folder`, as paths from the root with `/`, sorted.
fn rust_files(folder: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(from_root(&path));
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no Rust file");
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{} can't be read: {error}", folder.display()));
    entries.map(|entry| entry.expect("a folder can be read to its end").path()).collect()
}

fn from_root(path: &Path) -> String {
    let parts = path.strip_prefix(root()).expect("every path here is made from the root").iter();
    parts.map(|part| part.to_str().expect("file names are UTF-8")).collect::<Vec<_>>().join("/")
}

/// A file's text without comment lines and without its test modules; empty for a file that only tests.
fn code(path: &str) -> String {
    if path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let text = read(path);
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim_start_matches("pub(crate) ").starts_with("mod "))
        {
            let module = lines.next().unwrap_or_default();
            if !module.ends_with(';') {
                lines.by_ref().find(|line| *line == "}");
            }
        } else if !line.trim_start().starts_with("//") && !line.trim().is_empty() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Fails with every broken rule, one a line.
fn none(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is() {
    let files = rust_files("src").into_iter().chain(rust_files("tests"));
    let silent = files.filter(|path| !read(path).starts_with("//! "));
    none(silent.map(|path| format!("{path} must open with `//!` and say what it is")).collect());
}

/// Rooms whose first lines are a map: the way of the data through their files.
const MAPPED: [&str; 3] = ["pipeline", "detect", "telemetry"];

#[test]
fn the_map_of_a_room_names_every_file() {
    let mut broken = Vec::new();
    for room in MAPPED {
        let path = format!("src/{room}/mod.rs");
        let map: String = read(&path).lines().take_while(|line| line.starts_with("//!")).collect();
        let code = code(&path);
        let modules =
            code.lines().filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
        let missing = modules.filter(|module| !map.contains(&format!("`{module}`")));
        broken.extend(missing.map(|module| format!("{path}: its first lines do not name `{module}`")));
    }
    none(broken);
}

/// A rule worker dies with the thread that started it, and this turns a thread that stays into one that ends when idle.
#[test]
fn threads_that_start_rule_workers_stay() {
    let files = rust_files("src").into_iter().filter(|path| code(path).contains("block_in_place"));
    none(files.map(|path| format!("{path} uses block_in_place; use runtime::blocking")).collect());
}

#[test]
fn files_stay_readable() {
    let limit = |path: &str| if path == "src/main.rs" { 60 } else { 400 };
    let lines = rust_files("src").into_iter().map(|path| (code(&path).lines().count(), path));
    let long = lines.filter(|(lines, path)| *lines > limit(path));
    none(
        long.map(|(lines, path)| format!("{path} has {lines} lines of code; {} are the most", limit(&path))).collect(),
    );
}

/// What git tracks, else (in an unpacked archive) what is there.
fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    if let Ok(listed) = listed
        && listed.status.success()
        && !listed.stdout.is_empty()
    {
        let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
        return names.split_terminator('\0').map(|name| root().join(name)).filter(|path| path.is_file()).collect();
    }
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let own = ![".git", "target", "var"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && own {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files
}

/// Logs hold paths of the machines that they come from.
const DATA: [&str; 4] = ["config/samples/", "config/log_types/", "rules/", "tests/corpus/"];

/// Written in two parts, so that this file does not break its own rule.
const OF_ONE_MACHINE: [&str; 9] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("pypi", ".org"),
    concat!("registry.npm", "js.org"),
    concat!("deb.deb", "ian.org"),
];

#[test]
fn nothing_names_one_machine_or_a_registry() {
    let mut broken = Vec::new();
    for path in tracked() {
        let name = from_root(&path);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if DATA.iter().any(|folder| name.starts_with(folder)) {
            continue;
        }
        for (at, line) in text.lines().enumerate() {
            let found = OF_ONE_MACHINE.iter().find(|word| line.contains(**word));
            broken.extend(found.map(|word| format!("{name}:{} names `{word}`", at + 1)));
        }
    }
    none(broken);
}

#[test]
fn every_dependency_comes_from_the_public_registry() {
    let lock = read("Cargo.lock");
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let known = r#""registry+https://github.com/rust-lang/crates.io-index""#;
    none(
        sources
            .filter(|source| *source != known)
            .map(|source| format!("Cargo.lock names the source {source}"))
            .collect(),
    );
}

#[test]
fn ci_runs_what_the_readme_says() {
    let readme = read("README.md");
    let command =
        readme.lines().map(|line| line.trim().trim_start_matches("$ ")).find(|line| line.starts_with("cargo test"));
    let command = command.expect("README.md gives the command that runs the tests, on a line of its own");
    let command = command.split('#').next().unwrap_or_default().trim();
    assert!(read(".ci/run").contains(command), ".ci/run does not run `{command}`, which README.md gives");
}
