//! A REST catalog process: one for each test that asks for it, gone when it is dropped or the test process is gone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::venv;

const SERVE: &str = include_str!("serve.py");

/// A token that the server takes.
pub const TOKEN: &str = "static-token";

/// Of a client whom the server grants tokens.
pub const CREDENTIAL: &str = "client:secret";

pub struct Server {
    /// Before `/v1`.
    pub uri: String,
    child: Child,
}

impl Server {
    /// Starts a server that keeps its database in a folder, and waits until it listens; blocking. `files` are pyiceberg's
    /// properties for reading and writing files, as JSON.
    pub fn start(folder: &Path, files: &str) -> Server {
        let mut child = Command::new(venv::interpreter())
            .args(["-c", SERVE])
            .arg(folder)
            .env("FILES", files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the REST catalog");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("its output is piped")).read_line(&mut port).expect("read its port");
        assert!(!port.trim().is_empty(), "the REST catalog ended before it listened; its words are above");
        Server { uri: format!("http://127.0.0.1:{}", port.trim()), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends by itself when its input does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
