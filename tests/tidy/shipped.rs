//! The shipped configurations load, and mean what the quick start promises.

use std::path::Path;

use margay::config::{Config, dump, load_with};
use margay::model::StreamType;
use margay::queue;

use super::root;

fn load(name: &str) -> Config {
    load_with(&root().join("config").join(name), Vec::new()).unwrap_or_else(|problems| panic!("\n{problems}\n"))
}

#[test]
fn every_shipped_configuration_loads() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    assert_eq!(names, ["aws.toml", "local.toml"]);
    for name in names {
        load(&name);
    }
}

#[test]
fn the_local_configuration_needs_nothing_but_this_repository() {
    let config = load("local.toml");
    let folder = root().join("config");
    assert_eq!(config.queue.kind, queue::Kind::Directory);
    assert_eq!(config.queue.directory.path, Some(folder.join("samples")));
    assert_eq!(config.queue.directory.bucket, "local");
    assert_eq!(config.state.sqlite.path, folder.join("../var/margay.db"));
    assert_eq!(config.rules.directories, [folder.join("../rules")]);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9600");
    let [source] = &config.sources[..] else { panic!("one source: {:?}", config.sources) };
    assert_eq!((source.name.as_str(), source.bucket.as_str()), ("local", "local"));
    assert_eq!(source.role_arn, None);
    let prefixes: Vec<(&str, &str)> =
        source.prefixes.iter().map(|prefix| (prefix.prefix.as_str(), prefix.log_types[0].as_str())).collect();
    let expected = [
        ("cloudtrail/", "AWS.CloudTrail"),
        ("vpcflow/", "AWS.VPCFlow"),
        ("s3access/", "AWS.S3ServerAccess"),
        ("okta/", "Okta.SystemLog"),
    ];
    assert_eq!(prefixes, expected);
}

#[test]
fn the_example_for_aws_shows_every_key() {
    let config = load("aws.toml");
    assert_eq!(config.queue.kind, queue::Kind::Sqs);
    assert_eq!(config.state.sqlite.path, Path::new("/var/lib/margay/margay.db"));
    assert_eq!(config.sources.len(), 3);
    assert!(config.sources[0].role_arn.is_some() && config.sources[0].external_id.is_some());
    assert_eq!(config.sources[2].stream_type, StreamType::JsonArray);
    let text = super::read("config/aws.toml");
    // The directory queue is the other choice; local.toml shows it.
    let keys = margay::config::keys().into_iter().filter(|key| !key.starts_with("queue.directory."));
    let absent = keys.filter(|key| {
        let name = key.rsplit('.').next().unwrap_or(key);
        !text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} =")))
    });
    super::none(absent.map(|key| format!("config/aws.toml does not show `{key}`")).collect());
    assert!(!dump(&config).contains("replace-me"), "an external id is a secret");
}
