//! The API server process: one for the test process, on a free port, gone when the test process is gone.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use super::python;

/// Serves until its standard input ends. Nobody has to kill it: the pipe closes when this process ends, however it
/// ends, a panic and a kill included.
const SERVE: &str = r#"
import logging, os, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.sns.models import Subscription

# It looks for a subscribed queue in the topic's account, whatever the queue's ARN says.
publish = Subscription.publish
def publish_to_its_account(self, *arguments, **named):
    own = self.account_id
    if self.protocol == "sqs":
        self.account_id = self.endpoint.split(":")[4]
    try:
        return publish(self, *arguments, **named)
    finally:
        self.account_id = own
Subscription.publish = publish_to_its_account

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
os._exit(0)
"#;

/// The server's address. The first caller starts it and waits until it listens; blocking.
pub(super) fn endpoint() -> String {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(start).clone()
}

fn start() -> String {
    /// Holds the pipe open for as long as this process lives.
    static SERVER: Mutex<Option<Child>> = Mutex::new(None);
    let mut server = Command::new(python::interpreter())
        .args(["-c", SERVE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the AWS API server");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("its output is piped")).read_line(&mut port).expect("read its port");
    assert!(!port.trim().is_empty(), "the AWS API server ended before it listened; its words are above");
    *SERVER.lock().expect("only one thread starts it") = Some(server);
    format!("http://127.0.0.1:{}", port.trim())
}
