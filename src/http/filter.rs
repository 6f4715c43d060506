//! The log filter of the running process, read and changed from the same host only: who may reach the port from
//! elsewhere, such as whoever collects the metrics, must not be able to make the daemon silent or flood its logs.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;

use super::Surface;

type Answer = (StatusCode, String);

pub(super) async fn show(ConnectInfo(peer): ConnectInfo<SocketAddr>, State(surface): State<Surface>) -> Answer {
    match refuse(peer) {
        Some(refusal) => refusal,
        None => (StatusCode::OK, format!("{}\n", surface.log.current())),
    }
}

/// The body is the filter, in the spelling of `log.filter`. It holds until the process ends.
pub(super) async fn change(
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    State(surface): State<Surface>,
    filter: String,
) -> Answer {
    if let Some(refusal) = refuse(peer) {
        return refusal;
    }
    match surface.log.set_filter(&filter) {
        Ok(()) => {
            let filter = surface.log.current();
            tracing::info!(%peer, filter, "log filter changed");
            (StatusCode::OK, format!("{filter}\n"))
        }
        Err(reason) => (StatusCode::BAD_REQUEST, format!("{reason}\n")),
    }
}

/// The answer to a caller from elsewhere. A loopback address may arrive as IPv6 with IPv4 inside.
fn refuse(peer: SocketAddr) -> Option<Answer> {
    if peer.ip().to_canonical().is_loopback() {
        return None;
    }
    let text = "the log filter is open to callers on the same host only; call 127.0.0.1 there\n";
    Some((StatusCode::FORBIDDEN, text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_host_is_let_in() {
        for peer in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(refuse(peer.parse().unwrap()).is_none(), "{peer}");
        }
        for peer in ["10.0.0.1:1", "[fd00::1]:1", "[::ffff:10.0.0.1]:1", "169.254.169.254:1"] {
            assert_eq!(refuse(peer.parse().unwrap()).unwrap().0, StatusCode::FORBIDDEN, "{peer}");
        }
    }
}
