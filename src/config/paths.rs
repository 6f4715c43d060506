//! Relative paths in the file mean "beside the file", wherever the daemon was started; those in variables keep the
//! meaning that they have in the shell that set them.

use std::path::{Path, PathBuf};

use super::Config;
use super::layers::Layers;
use super::problem::Place;

/// Makes every relative path that a file or a default gave lie in `folder`.
pub(super) fn resolve(config: &mut Config, layers: &Layers, folder: &Path) {
    for (key, path) in paths(config) {
        let key: Vec<String> = key.split('.').map(str::to_owned).collect();
        if path.is_relative() && matches!(layers.place(&key), Place::File(_)) {
            *path = folder.join(&path);
        }
    }
}

/// Every path in the configuration, with its key.
fn paths(config: &mut Config) -> Vec<(String, &mut PathBuf)> {
    let mut paths = vec![
        ("state.sqlite.path".to_owned(), &mut config.state.sqlite.path),
        ("lake.local.path".to_owned(), &mut config.lake.local.path),
        ("search.path".to_owned(), &mut config.search.path),
    ];
    let password = config.state.postgres.password_file.as_mut();
    paths.extend(password.map(|path| ("state.postgres.password_file".to_owned(), path)));
    paths.extend(config.queue.directory.path.as_mut().map(|path| ("queue.directory.path".to_owned(), path)));
    for (list, key) in [
        (&mut config.rules.directories, "rules.directories"),
        (&mut config.log_types.directories, "log_types.directories"),
    ] {
        paths.extend(list.iter_mut().enumerate().map(|(at, path)| (format!("{key}.{at}"), path)));
    }
    for (at, destination) in config.alerts.destinations.iter_mut().enumerate() {
        let file = destination.file.as_mut();
        paths.extend(file.map(|file| (format!("alerts.destinations.{at}.file.path"), &mut file.path)));
    }
    paths
}
