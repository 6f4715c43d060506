//! A virtual environment with what `tests/requirements.txt` lists, made once and kept below the target folder.
//!
//! The unit tests of adapters that need a real server use this file too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// The interpreter of the environment, which is made first if it is missing or was made from another list or elsewhere:
/// its programs name their interpreter by its whole path. Test processes that start together wait for each other here.
pub fn interpreter() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own path");
    let target = own.ancestors().nth(3).expect("cargo puts tests into target/<profile>/deps");
    let venv = target.join("it-venv");
    let lock = File::create(target.join("it-venv.lock")).expect("create the lock file");
    lock.lock().expect("lock the virtual environment");
    let (python, made_from) = (venv.join("bin/python"), venv.join("made-from.txt"));
    let made_of = format!("# {}\n{REQUIREMENTS}", venv.display());
    if fs::read_to_string(&made_from).is_ok_and(|noted| noted == made_of) {
        return python;
    }
    if venv.exists() {
        fs::remove_dir_all(&venv).expect("remove the old virtual environment");
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv), "install python3 with its venv module");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements.txt");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(list);
    run(&mut pip, "it needs a package registry once");
    // Written last: an environment that was interrupted is made anew.
    fs::write(made_from, made_of).expect("note what the environment was made from");
    python
}

fn run(command: &mut Command, remedy: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed; {remedy}\n{errors}");
}
