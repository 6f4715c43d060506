//! `margay health`: asks the daemon of this host whether it lives, for images without a shell or an HTTP client.
//!
//! It does not read the configuration file: a file that a running daemon has refused is no reason to end that daemon.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::{failure, print};

/// For connecting, and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answers about health are one line; what is longer is none of margay's.
const LONGEST: u64 = 64 * 1024;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Address of the HTTP server (`http.listen`).
    #[arg(long, env = "MARGAY_HTTP__LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9600")]
    address: SocketAddr,
    /// Ask whether it takes work in, not only whether it lives.
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    let address = reachable(arguments.address);
    let asked = ask(address, path, LONGEST).with_context(|| format!("could not ask http://{address}{path}"));
    match asked.and_then(|answer| Ok((answer.is_well, print(&answer.text)?))) {
        Ok((true, ())) => ExitCode::SUCCESS,
        Ok((false, ())) => ExitCode::FAILURE,
        Err(error) => failure(&error),
    }
}

/// A server that listens on every address is reached on this host's own.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

pub(super) struct Answer {
    pub(super) is_well: bool,
    pub(super) text: String,
}

/// A path of the HTTP server at this address; `longest` bytes of the answer at most.
pub(super) fn ask(address: SocketAddr, path: &str, longest: u64) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the body ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(longest).read_to_string(&mut answer)?;
    read(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn read(answer: &str) -> Option<Answer> {
    let (head, text) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Answer { is_well: status == "200", text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_well() {
        for (answer, is_well) in [
            ("HTTP/1.0 200 OK\r\na: b\r\n\r\nalive\n", Some(true)),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: draining\n", Some(false)),
            ("SSH-2.0-x\r\n\r\n", None),
            ("", None),
        ] {
            assert_eq!(read(answer).map(|answer| answer.is_well), is_well, "{answer}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_asked_on_this_host() {
        for (listen, wanted) in
            [("0.0.0.0:9600", "127.0.0.1:9600"), ("[::]:1", "[::1]:1"), ("127.0.0.2:3", "127.0.0.2:3")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), wanted.parse().unwrap());
        }
    }
}
