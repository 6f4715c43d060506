//! The PostgreSQL server process: one for the test process, gone when the test process is gone, and a schema of its own for
//! each test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::{Connection, Executor, PgConnection};

use super::venv;

const SERVE: &str = include_str!("serve.py");

/// Where the server is, and what is needed to get in.
pub struct Server {
    /// `HOST:PORT`.
    pub address: String,
    /// The same, for those that ask for TLS.
    pub encrypted: String,
    /// File with the certificate of the authority that signed the server's.
    pub authority: String,
}

/// Name and password of the one who may do everything.
pub const OWNER: &str = "postgres:secret";

/// The server. The first caller starts it and waits until it listens; blocking.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// URL of an empty schema that no other test has.
pub async fn empty_schema() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("schema_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    execute(&format!("CREATE SCHEMA {name}")).await;
    let address = &server().address;
    format!("postgres://{OWNER}@{address}/postgres?sslmode=disable&options[search_path]={name}")
}

/// Lets the owner execute something.
pub async fn execute(sql: &str) {
    let url = format!("postgres://{OWNER}@{}/postgres?sslmode=disable", server().address);
    let mut connection = PgConnection::connect(&url).await.expect("connect to the server");
    connection.execute(sql).await.expect("execute");
    connection.close().await.expect("close the connection");
}

fn start() -> Server {
    /// Holds the pipe open for as long as this process lives.
    static PROCESS: Mutex<Option<Child>> = Mutex::new(None);
    let mut process = Command::new(venv::interpreter())
        .args(["-c", SERVE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the PostgreSQL server");
    let mut said = String::new();
    BufReader::new(process.stdout.take().expect("its output is piped")).read_line(&mut said).expect("read its port");
    let mut said = said.split_whitespace();
    let mut word = || said.next().expect("the PostgreSQL server ended before it listened; its words are above");
    let [address, encrypted] = [word(), word()].map(|port| format!("127.0.0.1:{port}"));
    let server = Server { address, encrypted, authority: word().into() };
    *PROCESS.lock().expect("only one thread starts it") = Some(process);
    server
}
