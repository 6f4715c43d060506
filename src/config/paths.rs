//! Relative paths in the file mean "beside the file", wherever the daemon was started; those in variables keep the
//! meaning that they have in the shell that set them. A folder that lies in S3 is that of its copy, for whoever reads it.

use std::path::{Path, PathBuf};

use super::Config;
use super::layers::Layers;
use super::problem::Place;
use crate::model::SecretRef;
use crate::remote::Prefix;

/// Makes every relative path that a file or a default gave lie in `folder`.
pub(super) fn resolve(config: &mut Config, layers: &Layers, folder: &Path) {
    for (key, path) in paths(config) {
        let key: Vec<String> = key.split('.').map(str::to_owned).collect();
        if path.is_relative() && Prefix::parse(path).is_none() && matches!(layers.place(&key), Place::File(_)) {
            *path = folder.join(&path);
        }
    }
}

/// Puts the folders of their copies into the place of those that lie in S3, and notes these; in a configuration that
/// holds.
pub(super) fn take_copies(config: &mut Config) {
    let copies = config.remote.path.clone();
    let mut prefixes = Vec::new();
    for path in config.rules.directories.iter_mut().chain(&mut config.log_types.directories) {
        if let Some(Ok(prefix)) = Prefix::parse(path) {
            *path = prefix.folder(&copies);
            prefixes.push(prefix);
        }
    }
    prefixes.sort();
    prefixes.dedup();
    config.remote.prefixes = prefixes;
}

/// The other way round, for showing it as it was written.
pub(super) fn as_written(config: &Config) -> Config {
    let mut config = config.clone();
    let remote = &config.remote;
    let written = |path: &mut PathBuf| {
        let prefix = remote.prefixes.iter().find(|prefix| prefix.folder(&remote.path) == *path);
        if let Some(prefix) = prefix {
            *path = prefix.to_string().into();
        }
    };
    config.rules.directories.iter_mut().chain(&mut config.log_types.directories).for_each(written);
    config
}

/// Every path in the configuration, with its key.
fn paths(config: &mut Config) -> Vec<(String, &mut PathBuf)> {
    let mut paths = vec![
        ("state.sqlite.path".to_owned(), &mut config.state.sqlite.path),
        ("lake.local.path".to_owned(), &mut config.lake.local.path),
        ("remote.path".to_owned(), &mut config.remote.path),
        ("search.path".to_owned(), &mut config.search.path),
    ];
    let rest = &mut config.lake.rest;
    for (key, secret) in [("lake.rest.token", rest.token.as_mut()), ("lake.rest.credential", rest.credential.as_mut())]
    {
        if let Some(SecretRef::File(path)) = secret {
            paths.push((key.to_owned(), path));
        }
    }
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
