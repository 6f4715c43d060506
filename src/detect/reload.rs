//! Reloads the engine when the rule folders changed. Knows nothing of what a rule is, nor of how changes are seen.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::spec::TABLE_FILES;
use crate::runtime::{Watch, Watched};
use crate::telemetry::Telemetry;

/// A watch over rule folders. Whoever loads them first looks first, and accepts that look.
pub fn watch(directories: &[PathBuf], debounce: Duration, telemetry: Telemetry) -> Watch {
    let watched = Watched { folders: directories.to_vec(), counts: is_rule_file, files: Vec::new() };
    Watch::new(watched, debounce, move |reason, interval| telemetry.files_not_watched("rules", reason, interval))
}

fn is_rule_file(path: &Path) -> bool {
    let counts = |extension: &OsStr| ["py", "yml", "yaml"].iter().chain(&TABLE_FILES).any(|known| extension == *known);
    path.extension().is_some_and(counts)
}

/// Reloads until `shutdown`. A SIGHUP reloads at once, changed or not.
pub async fn run(
    engine: Engine,
    mut watch: Watch,
    mut hangups: Signal,
    telemetry: Telemetry,
    shutdown: CancellationToken,
) {
    loop {
        let hangup = pin!(async {
            // Nothing ends the stream of signals.
            let _ = hangups.recv().await;
        });
        let look = tokio::select! {
            () = shutdown.cancelled() => return,
            look = watch.next(hangup) => look,
        };
        let reloaded = tokio::select! {
            () = shutdown.cancelled() => return,
            reloaded = engine.reload(look.asked) => reloaded,
        };
        match reloaded {
            Ok(_) => watch.accept(&look),
            // What failed may have been the moment (memory, a late mount): the next look tries again.
            Err(error) => telemetry.rule_set_refused(&error.to_string()),
        }
    }
}
