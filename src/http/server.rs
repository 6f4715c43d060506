//! Connections: so many at a time, each with a limit on how long its requests may take to arrive and to be answered. A
//! caller that sends nothing, or slowly, holds a connection for a moment and not for ever.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::runtime::Tasks;

/// From the start of a connection, or the end of the request before, to the end of a request's head.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(15);

/// Of a request's body and answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long an open request may hold up the end of the process.
pub(super) const CLOSING: Duration = Duration::from_secs(2);

/// When no connection can be taken: the process has too many files open.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves until `shutdown`, then lets open requests end for a moment.
pub(super) async fn serve(
    listener: TcpListener,
    app: Router,
    connections: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(connections));
    let open = Tasks::new();
    loop {
        // The permit comes before the connection: those beyond the limit wait unaccepted.
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = slots.clone().acquire_owned() => permit.expect("nothing closes the semaphore"),
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let app = app.clone().layer(Extension(ConnectInfo(peer)));
                open.spawn(connection(stream, app, shutdown.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    open.drained(CLOSING).await;
    Ok(())
}

async fn connection(stream: TcpStream, app: Router, shutdown: CancellationToken, _permit: OwnedSemaphorePermit) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    // How it ends is the caller's business: it may go away at any time.
    tokio::select! {
        _ = &mut connection => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(CLOSING, connection).await;
}

/// A request that takes too long is answered, and what it waited for is dropped.
pub(super) async fn limited(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

/// The address of a caller, as handlers ask for it.
pub(super) type Peer = ConnectInfo<SocketAddr>;
