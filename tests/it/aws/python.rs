//! Small programs in the virtual environment.

use std::io::Write;
use std::process::{Command, Stdio};

pub use crate::venv::interpreter;

/// What a program prints, as JSON, when `input` is its standard input.
pub fn evaluate(program: &str, input: &str) -> serde_json::Value {
    let mut child = Command::new(interpreter())
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start python");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("write to python");
    let output = child.wait_with_output().expect("run python");
    assert!(output.status.success(), "the program failed on:\n{input}");
    serde_json::from_slice(&output.stdout).expect("the program prints JSON")
}
