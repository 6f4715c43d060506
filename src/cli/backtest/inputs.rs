//! The raw logs: files, folders and prefixes of buckets, each as objects of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, TryStreamExt, once};

use super::Arguments;
use crate::app;
use crate::cli::listing;
use crate::config::Config;
use crate::fetch::{FetchError, Listed, ObjectStore};
use crate::model::{Access, ObjectRef, OnMissing, Route, Stream, s3_path};
use crate::pipeline::Catalogue;
use crate::runtime::Tasks;
use crate::source::Routing;

/// The bucket that a folder plays, and the source of what belongs to none.
const OWN: &str = "backtest";

/// What an argument names.
#[derive(Debug, PartialEq)]
pub(super) enum Input {
    File(PathBuf),
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Input {
    pub(super) fn parse(text: &str) -> Result<Input, String> {
        if let Some(address) = s3_path(text) {
            let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
            if bucket.is_empty() {
                return Err(format!("{text:?} names no bucket; write s3://bucket/prefix"));
            }
            return Ok(Input::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        let path = PathBuf::from(text);
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Input::Folder(path)),
            Ok(_) => Ok(Input::File(path)),
            Err(error) => Err(format!("--input {text}: {error}")),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::File(path) | Input::Folder(path) => write!(f, "{}", path.display()),
            Input::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// An input that can be read.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) store: Arc<dyn ObjectStore>,
    bucket: String,
    prefix: String,
    /// The one object that is meant.
    only: Option<String>,
    /// Of a folder.
    root: Option<PathBuf>,
    /// For listing.
    access: Arc<Access>,
    /// Of objects that belong to no source.
    route: Route,
    /// The log types were said: those of a source do not count.
    log_types_are_said: bool,
}

impl Source {
    pub(super) async fn open(
        input: &Input,
        config: &Config,
        catalogue: &Catalogue,
        work: &Tasks,
        log_types: &[Arc<str>],
        arguments: &Arguments,
    ) -> anyhow::Result<Source> {
        let stream = Stream { kind: arguments.stream_type.unwrap_or_default(), ..Stream::default() };
        let mut access = Arc::new(Access { source: OWN.to_owned(), ..Access::default() });
        let (store, bucket, prefix, only, root) = match input {
            Input::File(path) => {
                let root = match path.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| anyhow::anyhow!("its name is no text"))?.to_owned();
                (app::folder_store(root, OWN)?, OWN.to_owned(), String::new(), Some(name), Some(root.to_owned()))
            }
            Input::Folder(path) => {
                (app::folder_store(path, OWN)?, OWN.to_owned(), String::new(), None, Some(path.clone()))
            }
            Input::Bucket { bucket, prefix } => {
                let source = catalogue.sources.of_bucket(bucket).into_iter().next();
                if let Some(scope) = source.and_then(|source| catalogue.sources.scope(source)) {
                    access = scope.access;
                }
                (app::bucket_store(config, work).await, bucket.clone(), prefix.clone(), None, None)
            }
        };
        let own = Access { source: OWN.to_owned(), ..(*access).clone() };
        let route = Route {
            access: Arc::new(own),
            log_types: log_types.into(),
            stream: Arc::new(stream),
            on_missing: OnMissing::default(),
        };
        let log_types_are_said = !arguments.log_type.is_empty();
        Ok(Source { name: input.to_string(), store, bucket, prefix, only, root, access, route, log_types_are_said })
    }

    /// As the daemon would read it, where it belongs to a source.
    pub(super) fn route(&self, object: &ObjectRef, catalogue: &Catalogue) -> Route {
        if self.root.is_some() {
            return self.route.clone();
        }
        match catalogue.sources.route(object) {
            Routing::Route(route) if self.log_types_are_said => {
                Route { log_types: self.route.log_types.clone(), ..route }
            }
            Routing::Route(route) => route,
            Routing::Unrouted | Routing::Excluded(_) => self.route.clone(),
        }
    }

    pub(super) fn name_of(&self, object: &ObjectRef) -> String {
        match &self.root {
            Some(root) => root.join(&object.key).display().to_string(),
            None => object.to_string(),
        }
    }

    /// In the order of keys. An error ends the list.
    pub(super) fn objects(&self) -> BoxStream<'_, Result<ObjectRef, FetchError>> {
        if let Some(key) = &self.only {
            let object = ObjectRef {
                bucket: self.bucket.clone(),
                key: key.clone(),
                version_id: None,
                etag: None,
                size: None,
                region: None,
                sequencer: None,
            };
            return once(async move { Ok(object) }).boxed();
        }
        let prefixes = [self.prefix.clone()].into();
        let walk = listing::walk(&self.store, &self.access, &self.bucket, prefixes, None);
        walk.map_ok(|Listed { object, .. }| object).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_files_folders_and_prefixes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        std::fs::write(&file, "x").unwrap();
        let parsed = |text: &str| Input::parse(text);
        assert_eq!(parsed(file.to_str().unwrap()), Ok(Input::File(file.clone())));
        assert_eq!(parsed(folder.path().to_str().unwrap()), Ok(Input::Folder(folder.path().into())));
        let bucket = |prefix: &str| Ok(Input::Bucket { bucket: "b".into(), prefix: prefix.into() });
        assert_eq!((parsed("s3://b/p/q"), parsed("s3://b")), (bucket("p/q"), bucket("")));
        assert!(parsed("s3:///p").unwrap_err().contains("names no bucket"));
        assert!(parsed("nowhere").unwrap_err().starts_with("--input nowhere: "));
    }
}
