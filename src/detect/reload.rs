//! Watches the rule folders and reloads the engine when their content changed. Knows nothing of what a rule is.
//!
//! File events are only a reason to look: what decides is a hash over paths and contents, read through links. So a
//! ConfigMap update (a swap of one link), an editor's temporary files and a missed event all end the same way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::content;
use super::engine::Engine;
use crate::runtime::blocking;
use crate::telemetry::Telemetry;

/// A state of the rule folders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fingerprint([u8; 32]);

/// A look without a reason, for file systems that tell nothing (network mounts, some overlays).
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Reloads until `shutdown`. `loaded` is what the engine has loaded. A SIGHUP reloads at once, changed or not.
pub async fn watch(
    engine: Engine,
    directories: Vec<PathBuf>,
    mut loaded: Fingerprint,
    debounce: Duration,
    mut hangups: Signal,
    telemetry: Telemetry,
    shutdown: CancellationToken,
) {
    let (sender, mut events) = mpsc::channel(1);
    loop {
        // The watch is made anew after each change: folders that came or were swapped are watched from here on.
        let watcher = start_watch(&directories, sender.clone());
        if let Err(error) = &watcher {
            telemetry.rules_not_watched(&error.to_string(), LOOK_ANYWAY);
        }
        let forced = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(()) = hangups.recv() => true,
            Some(()) = events.recv() => {
                quiet(&mut events, debounce).await;
                false
            }
            () = sleep(LOOK_ANYWAY) => false,
        };
        let now = fingerprint(&directories).await;
        if !forced && now == loaded {
            continue;
        }
        let reloaded = tokio::select! {
            () = shutdown.cancelled() => return,
            reloaded = engine.reload(forced) => reloaded,
        };
        match reloaded {
            Ok(_) => loaded = now,
            // What failed may have been the moment (memory, a late mount): the next look tries again.
            Err(error) => telemetry.rule_set_refused(&error.to_string()),
        }
    }
}

/// Waits until no event has come for `debounce`, but not for ever: a folder that never rests is looked at all the same.
async fn quiet(events: &mut mpsc::Receiver<()>, debounce: Duration) {
    let restless = async { while let Ok(Some(())) = tokio::time::timeout(debounce, events.recv()).await {} };
    // Which of the two it was makes no difference.
    let _ = tokio::time::timeout(debounce * 10, restless).await;
}

fn start_watch(directories: &[PathBuf], sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too; it must not be a reason to read them.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // A full channel already holds a reason to look.
        let _ = sender.try_send(());
    })?;
    for directory in directories {
        watcher.watch(directory, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}

/// What the rule folders hold: a hash over the paths and contents of all rule files. What can't be read counts with its
/// error. Taken before the first load, so that no change falls between the load and the watch.
pub async fn fingerprint(directories: &[PathBuf]) -> Fingerprint {
    let directories = directories.to_vec();
    blocking(move || {
        let mut hash = Sha256::new();
        for entry in directories.iter().flat_map(|directory| content::files(directory)) {
            match entry {
                Ok(path) => {
                    if path.extension().is_some_and(|e| e == "py" || e == "yml" || e == "yaml") {
                        add_file(&path, &mut hash);
                    }
                }
                Err((_, reason)) => hash.update(reason),
            }
        }
        Fingerprint(hash.finalize().into())
    })
    .await
}

fn add_file(path: &Path, hash: &mut Sha256) {
    let name = path.to_string_lossy();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    match fs::read(path) {
        Ok(bytes) => {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Err(error) => hash.update(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_swapped_link_changes_the_fingerprint_and_a_temporary_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for (version, text) in [("..v1", "one"), ("..v2", "two")] {
            fs::create_dir(path.join(version)).unwrap();
            fs::write(path.join(version).join("a.py"), text).unwrap();
        }
        std::os::unix::fs::symlink("..v1", path.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.py", path.join("a.py")).unwrap();
        let before = fingerprint(&[path.into()]).await;

        fs::write(path.join(".a.py.swp"), "x").unwrap();
        fs::write(path.join("notes.txt"), "x").unwrap();
        assert_eq!(fingerprint(&[path.into()]).await, before);

        std::os::unix::fs::symlink("..v2", path.join("..new")).unwrap();
        fs::rename(path.join("..new"), path.join("..data")).unwrap();
        assert_ne!(fingerprint(&[path.into()]).await, before);
    }
}
