//! What becomes a copy and what never does, over a store in memory and a folder on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::listing::{Listing, MOST_DATA_FILE_BYTES, MOST_FILE_BYTES, MOST_FILES, Sums};
use super::mirror::{Failure, Outcome};
use super::poll::round;
use super::*;
use crate::fetch::Listed;
use crate::fetch::memory::MemoryStore;
use crate::model::ObjectRef;
use crate::runtime::{SharedClock, SystemClock};
use crate::telemetry::Telemetry;

const BUCKET: &str = "acme-rules";

struct Case {
    folder: TempDir,
    store: Arc<MemoryStore>,
}

impl Case {
    fn new(files: &[(&str, &str)]) -> Case {
        let case = Case { folder: tempfile::tempdir().unwrap(), store: Arc::new(MemoryStore::new()) };
        case.put(files);
        case
    }

    fn put(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            self.store.put(BUCKET, &format!("live/{path}"), text.as_bytes().to_vec());
        }
    }

    fn remove(&self, path: &str) {
        self.store.remove(BUCKET, &format!("live/{path}"));
    }

    /// As a daemon has it that has just started.
    fn mirror(&self) -> Mirror {
        Mirror::new(self.prefix(), &self.config(), self.store.clone())
    }

    fn config(&self) -> Config {
        Config { path: self.folder.path().to_owned(), prefixes: vec![self.prefix()], ..Config::default() }
    }

    fn prefix(&self) -> Prefix {
        prefix("s3://acme-rules/live")
    }

    /// What whoever reads the folder finds.
    fn found(&self) -> BTreeMap<String, String> {
        let folder = self.prefix().folder(self.folder.path());
        let files = crate::runtime::files_below(&folder).filter_map(Result::ok);
        files
            .map(|path| {
                let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect()
    }
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(Path::new(text)).unwrap().unwrap()
}

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

fn sums(files: &[(&str, &str)]) -> String {
    let line = |(path, text): &(&str, &str)| {
        let sum: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{sum}  ./{path}\n")
    };
    files.iter().map(line).collect()
}

#[track_caller]
fn refused(outcome: Result<Outcome, Failure>, why: &str) {
    match outcome {
        Err(Failure::Refused(text)) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?}"),
    }
}

const FILES: [(&str, &str); 4] = [("a.py", "1"), ("a.yml", "2"), ("deep/er/b.py", "3"), ("deep/b.yml", "4")];

#[test]
fn an_address_is_a_bucket_and_a_folder() {
    for (text, told) in [
        ("s3://acme-rules", "s3://acme-rules/"),
        ("s3://acme-rules/", "s3://acme-rules/"),
        ("s3://acme-rules/a/b", "s3://acme-rules/a/b/"),
        ("s3://acme-rules/a/b/", "s3://acme-rules/a/b/"),
    ] {
        assert_eq!(prefix(text).to_string(), told);
    }
    for (text, why) in [
        ("s3://", "bucket"),
        ("s3:///a", "bucket"),
        ("s3://Acme/a", "bucket"),
        ("s3://acme//a", "empty"),
        ("s3://acme/*", "wildcard"),
    ] {
        assert!(Prefix::parse(Path::new(text)).unwrap().unwrap_err().contains(why), "{text}");
    }
    assert!(Prefix::parse(Path::new("rules")).is_none());
    let copies = Path::new("copies");
    assert_ne!(prefix("s3://acme/a").folder(copies), prefix("s3://acme/b").folder(copies));
}

#[tokio::test]
async fn a_listing_that_stands_still_becomes_the_copy_whole() {
    let case = Case::new(&FILES);
    case.put(&[(".git/config", "hidden"), ("folder/", "")]);
    let mut mirror = case.mirror();
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
    assert!(!mirror.has_copy());
    assert_eq!(mirror.look().await.unwrap(), Outcome::Fetched { files: 4, bytes: 4 });
    assert_eq!(case.found(), files(&FILES));
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unchanged);

    // Half of an upload is seen, and waited for.
    case.put(&[("a.py", "new")]);
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
    case.put(&[("a.yml", "new")]);
    case.remove("deep/b.yml");
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
    assert_eq!(case.found(), files(&FILES));
    assert_eq!(mirror.look().await.unwrap(), Outcome::Fetched { files: 3, bytes: 7 });
    assert_eq!(case.found(), files(&[("a.py", "new"), ("a.yml", "new"), ("deep/er/b.py", "3")]));
}

#[tokio::test]
async fn an_upload_that_tells_its_end_is_taken_at_once_and_only_as_it_says() {
    let case = Case::new(&FILES);
    case.put(&[(SUMS, &sums(&FILES)), ("notes.txt", "not named")]);
    let mut mirror = case.mirror();
    assert_eq!(mirror.look().await.unwrap(), Outcome::Fetched { files: 4, bytes: 4 });
    assert_eq!(case.found(), files(&FILES));

    // The next upload has begun; however long that takes, it is no copy.
    case.put(&[("a.py", "new")]);
    for _ in 0..3 {
        refused(mirror.look().await, "not what SHA256SUMS says");
    }
    assert_eq!(case.found(), files(&FILES));
    case.remove("a.yml");
    refused(mirror.look().await, "not there");
    let new = [("a.py", "new"), ("b.py", "5")];
    case.put(&[("b.py", "5"), (SUMS, &sums(&new))]);
    assert_eq!(mirror.look().await.unwrap(), Outcome::Fetched { files: 2, bytes: 4 });
    assert_eq!(case.found(), files(&new));
}

#[tokio::test]
async fn what_is_uploaded_together_comes_into_use_together() {
    let case = Case::new(&FILES);
    let types = Prefix::parse(Path::new("s3://acme-rules/types")).unwrap().unwrap();
    let put_type = |text: &str| {
        case.store.put(BUCKET, "types/T.yml", text.to_owned());
    };
    put_type("1");
    let mut mirrors = [case.mirror(), Mirror::new(types.clone(), &case.config(), case.store.clone())];
    let in_use =
        || (case.found().get("a.py").cloned(), fs::read_to_string(types.folder(case.folder.path()).join("T.yml")).ok());
    let mut held = 0;
    let taken = async |mirrors: &mut [Mirror], held: &mut u32| {
        let (outcomes, _) = round(mirrors, held).await;
        outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Fetched { .. }))).count()
    };
    assert_eq!(taken(&mut mirrors, &mut held).await, 0);
    assert_eq!(taken(&mut mirrors, &mut held).await, 2);
    let first = (Some("1".to_owned()), Some("1".to_owned()));
    assert_eq!(in_use(), first);

    // The rules stand still, the log types are still being written: neither is taken.
    case.put(&[("a.py", "new")]);
    assert_eq!(taken(&mut mirrors, &mut held).await, 0);
    put_type("2");
    assert_eq!(taken(&mut mirrors, &mut held).await, 0);
    assert_eq!((in_use(), held), (first, 1));
    assert_eq!(taken(&mut mirrors, &mut held).await, 2);
    assert_eq!(in_use(), (Some("new".to_owned()), Some("2".to_owned())));

    // What never stands still holds the others for a while.
    case.put(&[("a.py", "newer")]);
    let mut rounds = 0;
    while case.found().get("a.py").map(String::as_str) != Some("newer") {
        put_type(&"x".repeat(rounds + 3));
        taken(&mut mirrors, &mut held).await;
        rounds += 1;
    }
    assert_eq!(rounds, 14);
}

#[tokio::test]
async fn a_copy_outlives_a_restart_and_an_outage() {
    let case = Case::new(&FILES);
    let (clock, telemetry): (SharedClock, _) = (Arc::new(SystemClock), Telemetry::new());
    let every = Duration::from_millis(1);
    let mut mirrors = [case.mirror()];
    first(&mut mirrors, every, &clock, &telemetry).await.unwrap();
    assert_eq!(case.found(), files(&FILES));
    assert!(case.config().missing().is_empty());

    // Everything is refused now, and what is there is another listing.
    case.put(&[("a.py", "new"), (SUMS, &sums(&[("a.py", "new")]))]);
    case.store.forbid(BUCKET, "live/a.py");
    let mut mirrors = [case.mirror()];
    first(&mut mirrors, every, &clock, &telemetry).await.unwrap();
    assert_eq!(case.found(), files(&FILES));
    let looks = &telemetry.metrics.remote_folder_looks_total;
    assert_eq!(looks.get(["s3://acme-rules/live/", "failed"]), 1);

    let elsewhere = Case { folder: tempfile::tempdir().unwrap(), store: case.store.clone() };
    let problem = first(&mut [elsewhere.mirror()], every, &clock, &telemetry).await.unwrap_err();
    assert!(problem.contains("no former copy") && problem.contains("a.py is refused"), "{problem}");
    assert!(elsewhere.config().missing()[0].contains("aws s3 sync s3://acme-rules/live/"));
}

#[tokio::test]
async fn a_process_that_was_killed_leaves_nothing_that_is_used() {
    let case = Case::new(&FILES);
    let place = case.prefix().place(case.folder.path());
    fs::create_dir_all(place.join("incoming")).unwrap();
    fs::write(place.join("incoming/half.py"), "half").unwrap();
    fs::create_dir_all(place.join("generations/old")).unwrap();
    std::os::unix::fs::symlink("generations/gone", place.join("current")).unwrap();
    let mut mirror = case.mirror();
    assert!(!mirror.has_copy(), "a link that leads nowhere");
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
    assert!(matches!(mirror.look().await.unwrap(), Outcome::Fetched { .. }));
    assert_eq!(case.found(), files(&FILES));
    assert_eq!(fs::read_dir(place.join("generations")).unwrap().count(), 1);

    // The former generation stays for whoever is reading it, and the one before it goes.
    for text in ["x", "y", "z"] {
        case.put(&[("a.py", text)]);
        assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
        assert!(matches!(mirror.look().await.unwrap(), Outcome::Fetched { .. }));
    }
    assert_eq!(fs::read_dir(place.join("generations")).unwrap().count(), 2);
}

#[tokio::test]
async fn two_processes_with_one_folder_do_not_write_at_once() {
    let case = Case::new(&FILES);
    let mut mirror = case.mirror();
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
    let other = super::copy::Copy::at(case.prefix().place(case.folder.path()));
    let writing = other.write().unwrap().unwrap();
    assert_eq!(mirror.look().await.unwrap(), Outcome::Unsettled);
    drop(writing);
    assert!(matches!(mirror.look().await.unwrap(), Outcome::Fetched { .. }));
}

fn listed(key: &str, size: u64) -> Listed {
    let object = ObjectRef {
        bucket: BUCKET.into(),
        key: format!("live/{key}"),
        version_id: None,
        etag: Some("e".into()),
        size: Some(size),
        region: None,
        sequencer: None,
    };
    Listed { object, modified: OffsetDateTime::UNIX_EPOCH }
}

#[test]
fn what_can_not_be_a_copy_is_refused_with_what_to_do() {
    let of = |objects: Vec<Listed>| Listing::new(&prefix("s3://acme-rules/live"), objects);
    for (key, why) in [
        ("../a.py", "leads out"),
        ("a/../../b.py", "leads out"),
        ("./a.py", "leads out"),
        ("/etc/a.py", "empty part"),
        ("a//b.py", "empty part"),
        ("a\\..\\b.py", "character"),
        ("a\0.py", "character"),
        ("a\n.py", "character"),
        (&"n".repeat(256), "255 bytes"),
    ] {
        let problem = of(vec![listed("good.py", 1), listed(key, 1)]).unwrap_err();
        assert!(problem.contains(why), "{key:?}: {problem}");
    }
    for (objects, why) in [
        (vec![], "holds no file"),
        (vec![listed(".hidden", 1), listed("folder/", 0)], "holds no file"),
        (vec![listed("a", 1), listed("a/b.py", 1)], "rename one"),
        (vec![listed("a.py", MOST_FILE_BYTES + 1)], "a file of rules has not"),
        (vec![listed("a.csv", MOST_DATA_FILE_BYTES + 1)], "a file of data has not"),
        ((0..5).map(|n| listed(&format!("{n}.mmdb"), MOST_DATA_FILE_BYTES)).collect(), "bytes of data"),
        ((0..33).map(|n| listed(&format!("{n}.py"), MOST_FILE_BYTES)).collect(), "are the most"),
        ((0..=MOST_FILES).map(|n| listed(&format!("{n}.py"), 1)).collect(), "are the most"),
    ] {
        let problem = of(objects).unwrap_err();
        assert!(problem.contains(why), "{problem}");
    }
    assert!(of(vec![listed("a.py", 1), listed("a.csv.gz", MOST_FILE_BYTES + 1)]).is_ok(), "data may be larger");
    let ids = [vec![listed("a", 1)], vec![listed("a", 2)], vec![listed("b", 1)], vec![listed("a", 1), listed("b", 1)]];
    let ids: std::collections::BTreeSet<String> = ids.into_iter().map(|objects| of(objects).unwrap().id()).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn sums_are_those_of_sha256sum() {
    let sum = "A".repeat(64);
    assert!(Sums::parse(format!("{sum}  ./a.py\n{sum} *b.py\n\n{sum}  {SUMS}\n").as_bytes()).is_ok());
    for (text, why) in [
        (String::new(), "names no file"),
        (format!("{sum}  {SUMS}"), "names no file"),
        (format!("{sum} a.py"), "line 1"),
        (format!("{sum}  a.py\nabc  b.py"), "line 2"),
        (format!("{sum}  ../a.py"), "leads out"),
        (format!("{sum}  /etc/passwd"), "empty part"),
    ] {
        let problem = Sums::parse(text.as_bytes()).unwrap_err();
        assert!(problem.contains(why), "{text:?}: {problem}");
    }
}
