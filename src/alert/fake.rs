//! A vendor's server for tests: takes requests on a loopback address, keeps them, and answers as told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::runtime::Tasks;

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// `POST /path HTTP/1.1`
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// The bytes of an answer; empty: none ever comes.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

pub(crate) struct Vendor {
    pub(crate) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    tasks: Tasks,
}

impl Vendor {
    /// Answers every request with `answer`.
    pub(crate) async fn answering(answer: impl Into<String>) -> Vendor {
        Vendor::answering_each(vec![answer.into()]).await
    }

    /// Answers each request with the next of these, and with the last from then on.
    pub(crate) async fn answering_each(answers: Vec<String>) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (received, tasks) = (Arc::<Mutex<Vec<_>>>::default(), Tasks::new());
        let (kept, token) = (received.clone(), tasks.token().clone());
        tasks.spawn(async move {
            let mut open = Vec::new();
            let mut turn = 0;
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    accepted = listener.accept() => {
                        let (mut stream, _) = accepted.unwrap();
                        if let Some(request) = read(&mut stream).await {
                            kept.lock().unwrap().push(request);
                        }
                        let answer = &answers[turn.min(answers.len() - 1)];
                        turn += 1;
                        // Whoever has enough closes the connection before the whole answer is written.
                        let _ = stream.write_all(answer.as_bytes()).await;
                        if answer.is_empty() {
                            open.push(stream);
                        }
                    }
                }
            }
        });
        Vendor { port, received, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.tasks.shut_down();
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
    let mut received = Received { line, headers, body: bytes[end + 4..].to_vec() };
    let length: usize = received.header("content-length").map_or(0, |value| value.parse().unwrap());
    while received.body.len() < length {
        if stream.read_buf(&mut received.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(received)
}
