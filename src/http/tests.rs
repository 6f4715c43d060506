//! The server over a real socket, asked in plain HTTP.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::{CLOSING, HEAD_LIMIT};
use super::*;
use crate::runtime::Tasks;
use crate::telemetry;

const CONNECTIONS: usize = 4;

fn on(listen: SocketAddr) -> Config {
    Config { listen, ..Config::default() }
}

struct Server {
    address: SocketAddr,
    surface: Surface,
    tasks: Tasks,
    /// The log handle works only as long as this lives.
    _subscriber: Box<dyn std::any::Any>,
}

impl Server {
    async fn start() -> Server {
        let (subscriber, log) = telemetry::build(&telemetry::Config::default(), false, false, std::io::sink).unwrap();
        let surface = Surface {
            readiness: Readiness::new(),
            findings: Findings::default(),
            telemetry: Telemetry::new(),
            log,
            api: Api::default(),
        };
        let listener = bind(&on((Ipv4Addr::LOCALHOST, 0).into())).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        tasks.spawn(serve(listener, surface.clone(), CONNECTIONS, tasks.token().clone()));
        Server { address, surface, tasks, _subscriber: Box::new(subscriber) }
    }

    /// Status line, headers and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn readiness_follows_its_handle_and_health_does_not() {
    let server = Server::start().await;
    let answer = server.ask("GET", "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready: starting\n"), "{answer}");
    server.surface.readiness.set_ready();
    assert!(server.ask("GET", "/readyz", "").await.starts_with("HTTP/1.1 200 "));
    server.surface.readiness.drain();
    let answer = server.ask("GET", "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("not ready: draining\n"), "{answer}");
    assert!(server.ask("GET", "/healthz", "").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn metrics_come_in_the_text_format() {
    let server = Server::start().await;
    server.surface.telemetry.messages_received(3);
    let answer = server.ask("GET", "/metrics", "").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nmargay_messages_received_total 3\n"), "{answer}");
}

#[tokio::test]
async fn the_log_filter_is_shown_and_changed() {
    let server = Server::start().await;
    assert!(server.ask("GET", "/log/filter", "").await.ends_with("\r\n\r\ninfo\n"));
    let answer = server.ask("PUT", "/log/filter", "info,margay::fetch=debug\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(server.ask("GET", "/log/filter", "").await.ends_with("\r\n\r\ninfo,margay::fetch=debug\n"));
    let answer = server.ask("PUT", "/log/filter", "loud").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("`loud`"), "{answer}");
    let answer = server.ask("PUT", "/log/filter", &"x".repeat(BODY_LIMIT + 1)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_the_known_ones() {
    let server = Server::start().await;
    let answer = server.ask("GET", "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("/metrics"), "{answer}");
    let answer = server.ask("POST", "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("/readyz"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_open_connection_does_not_hold_up_the_end() {
    let server = Server::start().await;
    let mut open = TcpStream::connect(server.address).await.unwrap();
    open.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    // A whole answer to another request: the server has taken the first connection by then.
    server.ask("GET", "/healthz", "").await;
    server.tasks.shut_down();
    assert!(server.tasks.drained(CLOSING * 2).await);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_sends_nothing_holds_a_connection_for_a_moment_only() {
    let server = Server::start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut open = TcpStream::connect(server.address).await.unwrap();
        open.write_all(b"GET /healthz HTTP/1.1\r\nX: ").await.unwrap();
        silent.push(open);
    }
    let start = tokio::time::Instant::now();
    // Waits for one of them to be given up.
    let answer = server.ask("GET", "/healthz", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(start.elapsed() >= HEAD_LIMIT, "one connection too many was taken");
    for mut open in silent {
        let mut answer = Vec::new();
        // Closed, with or without an answer.
        let _ = open.read_to_end(&mut answer).await;
    }
}

#[tokio::test]
async fn without_a_token_the_api_is_off() {
    let server = Server::start().await;
    let answer = server.ask("GET", "/api/v1/alerts", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("`http.tokens`"), "{answer}");
}

#[tokio::test]
async fn a_taken_address_is_told() {
    let server = Server::start().await;
    let error = bind(&on(server.address)).await.unwrap_err();
    let (text, cause) = (error.to_string(), std::error::Error::source(&error).is_some());
    assert!(text.starts_with(&format!("can't listen for HTTP on {}; ", server.address)) && cause, "{text}");
}
