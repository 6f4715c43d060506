//! A vendor's server on this machine: keeps what it is sent, and answers with the status it is told.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

/// One request: its head in lower case, and the body.
#[derive(Clone)]
pub struct Sent {
    pub head: String,
    pub body: Value,
}

impl Sent {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Keeps the vendor from answering what it has taken.
#[derive(Default)]
struct Held {
    closed: AtomicBool,
    reached: AtomicBool,
}

/// A vendor that is held, until it is opened.
pub struct Gate(Arc<Held>);

impl Gate {
    /// It has a request, and says nothing.
    pub fn is_reached(&self) -> bool {
        self.0.reached.load(Ordering::SeqCst)
    }

    pub fn open(&self) {
        self.0.closed.store(false, Ordering::SeqCst);
    }
}

pub struct Vendor {
    pub url: String,
    held: Arc<Held>,
    status: Arc<AtomicU16>,
    sent: Arc<Mutex<Vec<Sent>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Vendor {
    pub fn answering(status: u16) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (status, sent) = (Arc::new(AtomicU16::new(status)), Arc::<Mutex<Vec<Sent>>>::default());
        let (ends, held) = (Arc::<AtomicBool>::default(), Arc::<Held>::default());
        let thread = std::thread::spawn({
            let (status, sent, ends, held) = (status.clone(), sent.clone(), ends.clone(), held.clone());
            move || {
                for stream in listener.incoming() {
                    if ends.load(Ordering::SeqCst) {
                        return;
                    }
                    let keep = |request: Sent| sent.lock().unwrap().push(request);
                    stream.ok().and_then(|stream| serve(stream, status.load(Ordering::SeqCst), &held, keep));
                }
            }
        });
        Vendor { url, held, status, sent, ends, thread: Some(thread) }
    }

    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// From the next request on it takes them and does not answer.
    pub fn hold(&self) -> Gate {
        self.held.reached.store(false, Ordering::SeqCst);
        self.held.closed.store(true, Ordering::SeqCst);
        Gate(self.held.clone())
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let address = self.url.trim_start_matches("http://").trim_end_matches("/hook");
        // Wakes the thread, which then sees that it is to end.
        let _ = TcpStream::connect(address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `None` when the caller went away, which is what a killed daemon does. What was taken whole is kept before the answer.
fn serve(mut stream: TcpStream, status: u16, held: &Held, keep: impl Fn(Sent)) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?.to_lowercase();
    let request = Sent { head, body: Value::Null };
    let length: usize = request.header("content-length")?.parse().ok()?;
    while bytes.len() < end + length {
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    let body = serde_json::from_slice(&bytes[end..]).ok()?;
    keep(Sent { body, ..request });
    while held.closed.load(Ordering::SeqCst) {
        held.reached.store(true, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()
}
