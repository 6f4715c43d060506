//! Watches files and tells when what they hold has changed. Knows nothing of what is in them; who loads them says so.
//!
//! File events are only a reason to look: what decides is a hash over paths and contents, read through links. So a
//! ConfigMap update (a swap of one link), an editor's temporary files and a missed event all end the same way. The links
//! on the way to a folder are watched, too: whoever syncs folders from elsewhere swaps such a one. Of a large file, size
//! and time of writing stand for the contents: it is not worth reading every half minute.

use std::collections::VecDeque;
use std::fs;
use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{blocking, files_below};

/// A look without a reason, for file systems that tell nothing (network mounts, some overlays).
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// A file above this is large. What a ConfigMap holds is not.
const READ_WHOLE: u64 = 1024 * 1024;

/// What is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Folders; the files in and below them count.
    pub folders: Vec<PathBuf>,
    /// Which of those files do.
    pub counts: fn(&Path) -> bool,
    /// Files that count wherever they lie.
    pub files: Vec<PathBuf>,
}

/// What an event can be about, in absolute paths as events name them.
struct Concern {
    watched: Watched,
    /// On the way to the folders. A folder that is reached through one is another once it is swapped.
    links: Vec<PathBuf>,
}

impl Watched {
    fn absolute(&self) -> std::io::Result<Watched> {
        let absolute = |paths: &[PathBuf]| paths.iter().map(std::path::absolute).collect::<std::io::Result<Vec<_>>>();
        Ok(Watched { folders: absolute(&self.folders)?, counts: self.counts, files: absolute(&self.files)? })
    }
}

impl Concern {
    fn of(watched: &Watched) -> std::io::Result<Concern> {
        let watched = watched.absolute()?;
        let links = watched.folders.iter().flat_map(|folder| links_to(folder)).collect();
        Ok(Concern { watched, links })
    }

    /// Whether an event at these paths can have changed anything. The neighbours of a watched file can't, such as a
    /// database that is always written to; the hidden links through which a mount swaps the file can.
    fn includes(&self, paths: &[PathBuf]) -> bool {
        let is_neighbour = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            !self.watched.folders.iter().any(|folder| path.starts_with(folder))
                && !self.watched.files.iter().any(|file| file.file_name() == Some(name))
                && !self.links.contains(path)
                && !name.to_string_lossy().starts_with("..")
        };
        paths.is_empty() || !paths.iter().all(is_neighbour)
    }
}

/// More links on one way are a circle, as the kernel has it.
const MOST_LINKS: usize = 40;

/// The links through which an absolute path leads: its own parts, and those of the links' targets.
fn links_to(path: &Path) -> Vec<PathBuf> {
    let mut links = Vec::new();
    let mut way = PathBuf::new();
    let mut ahead: VecDeque<PathBuf> = path.components().map(|part| PathBuf::from(part.as_os_str())).collect();
    while let Some(part) = ahead.pop_front() {
        if part == Path::new("..") {
            way.pop();
            continue;
        }
        way.push(part);
        let Ok(target) = fs::read_link(&way) else { continue };
        if links.len() == MOST_LINKS {
            break;
        }
        links.push(way.clone());
        // A target that is absolute begins anew: pushing its root does that.
        way.pop();
        for part in target.components().rev() {
            ahead.push_front(PathBuf::from(part.as_os_str()));
        }
    }
    links
}

/// A state of what is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fingerprint([u8; 32]);

/// Told why file events don't come, and how often the files are looked through instead.
type Unwatched = Box<dyn Fn(&str, Duration) + Send + Sync>;

/// One reader's watch.
pub struct Watch {
    watched: Watched,
    /// What the reader has loaded; `None` when it must load whatever is there.
    loaded: Option<Fingerprint>,
    debounce: Duration,
    unwatched: Unwatched,
    sender: mpsc::Sender<()>,
    events: mpsc::Receiver<()>,
}

/// A reason to load.
#[must_use = "the same look comes again until it is accepted"]
#[derive(Debug)]
pub struct Look {
    /// Somebody asked for it, whether or not something changed.
    pub asked: bool,
    found: Fingerprint,
}

impl Watch {
    /// The first look comes at once. A reader that loads before its first look calls [`Watch::look`] before it loads,
    /// so that no change falls between the two.
    pub fn new(
        watched: Watched,
        debounce: Duration,
        unwatched: impl Fn(&str, Duration) + Send + Sync + 'static,
    ) -> Watch {
        let (sender, events) = mpsc::channel(1);
        Watch { watched, loaded: None, debounce, unwatched: Box::new(unwatched), sender, events }
    }

    /// What is there now.
    pub async fn look(&self) -> Look {
        Look { asked: false, found: fingerprint(&self.watched).await }
    }

    /// Waits until something else is there than what was accepted last, or until `asked` ends. May be dropped at any
    /// time.
    pub async fn next(&mut self, mut asked: impl Future<Output = ()> + Unpin) -> Look {
        loop {
            let asked = match self.loaded {
                None => false,
                Some(_) => self.reason(&mut asked).await,
            };
            let look = Look { asked, ..self.look().await };
            if asked || self.loaded != Some(look.found) {
                return look;
            }
        }
    }

    /// What was found is dealt with; only another state is a reason to load again.
    pub fn accept(&mut self, look: &Look) {
        self.loaded = Some(look.found);
    }

    /// Watches these folders from now on, and looks at once if they are others than before.
    pub fn turn_to(&mut self, folders: &[PathBuf]) {
        if self.watched.folders != folders {
            self.watched.folders = folders.to_vec();
            self.loaded = None;
        }
    }

    /// Waits for a reason to look; true when it is that somebody asked.
    async fn reason(&mut self, asked: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        // The watch is made anew after each look: folders that came or were swapped are watched from here on.
        let watcher = start(&self.watched, self.sender.clone());
        if let Err(error) = &watcher {
            (self.unwatched)(&error.to_string(), LOOK_ANYWAY);
        }
        tokio::select! {
            () = asked => return true,
            Some(()) = self.events.recv() => {}
            () = sleep(LOOK_ANYWAY) => return false,
        }
        // Until no event has come for a while, but not for ever: a folder that never rests is looked at all the same.
        let restless =
            async { while let Ok(Some(())) = tokio::time::timeout(self.debounce, self.events.recv()).await {} };
        // Which of the two it was makes no difference.
        let _ = tokio::time::timeout(self.debounce * 10, restless).await;
        false
    }
}

fn start(watched: &Watched, sender: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let concern = Concern::of(watched)?;
    let links = concern.links.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files is an event too; it must not be a reason to read them.
        if event.is_ok_and(|event| event.kind.is_access() || !concern.includes(&event.paths)) {
            return;
        }
        // A full channel already holds a reason to look.
        let _ = sender.try_send(());
    })?;
    for folder in &watched.folders {
        watcher.watch(folder, RecursiveMode::Recursive)?;
    }
    for link in &links {
        // The link itself would be followed.
        let folder = link.parent().unwrap_or(Path::new("/"));
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    for file in &watched.files {
        // The folder and not the file, which an editor or a mount replaces by another of its name.
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// A hash over the paths and contents of all files that count. What can't be read counts with its error.
async fn fingerprint(watched: &Watched) -> Fingerprint {
    let watched = watched.clone();
    blocking(move || {
        let mut hash = Sha256::new();
        for entry in watched.folders.iter().flat_map(|folder| files_below(folder)) {
            match entry {
                Ok(path) if (watched.counts)(&path) => add_file(&path, &mut hash),
                Ok(_) => {}
                Err((_, reason)) => hash.update(reason),
            }
        }
        watched.files.iter().for_each(|path| add_file(path, &mut hash));
        Fingerprint(hash.finalize().into())
    })
    .await
}

fn add_file(path: &Path, hash: &mut Sha256) {
    let name = path.to_string_lossy();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    let read = fs::metadata(path).and_then(|file| match file.len() {
        ..=READ_WHOLE => fs::read(path),
        large => {
            let facts = [large.cast_signed(), file.mtime(), file.mtime_nsec(), file.ino().cast_signed()];
            Ok(facts.into_iter().flat_map(i64::to_le_bytes).collect())
        }
    });
    match read {
        Ok(bytes) => {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Err(error) => hash.update(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    fn watch(folder: &Path, file: &Path) -> Watch {
        let counts = |path: &Path| path.extension().is_some_and(|extension| extension == "py");
        let watched = Watched { folders: vec![folder.into()], counts, files: vec![file.into()] };
        Watch::new(watched, Duration::from_millis(10), |reason, _| panic!("not watched: {reason}"))
    }

    #[tokio::test]
    async fn a_swapped_link_is_another_state_and_a_temporary_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for (version, text) in [("..v1", "one"), ("..v2", "two")] {
            fs::create_dir(path.join(version)).unwrap();
            fs::write(path.join(version).join("a.py"), text).unwrap();
        }
        std::os::unix::fs::symlink("..v1", path.join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.py", path.join("a.py")).unwrap();
        let watch = watch(path, &path.join("margay.toml"));
        let before = watch.look().await.found;

        fs::write(path.join(".a.py.swp"), "x").unwrap();
        fs::write(path.join("notes.txt"), "x").unwrap();
        assert_eq!(watch.look().await.found, before);

        fs::write(path.join("margay.toml"), "x").unwrap();
        let with_file = watch.look().await.found;
        assert_ne!(with_file, before);

        std::os::unix::fs::symlink("..v2", path.join("..new")).unwrap();
        fs::rename(path.join("..new"), path.join("..data")).unwrap();
        assert_ne!(watch.look().await.found, with_file);
    }

    #[tokio::test]
    async fn a_large_file_that_takes_the_place_of_another_is_another_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let size = READ_WHOLE as usize + 1;
        fs::write(path.join("a.py"), vec![b'a'; size]).unwrap();
        let watch = watch(path, &path.join("margay.toml"));
        let before = watch.look().await.found;
        assert_eq!(watch.look().await.found, before);
        fs::write(path.join("new"), vec![b'b'; size]).unwrap();
        fs::rename(path.join("new"), path.join("a.py")).unwrap();
        assert_ne!(watch.look().await.found, before);
    }

    #[tokio::test]
    async fn it_waits_for_another_state_than_the_accepted_one() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = other.path().join("margay.toml");
        let mut watch = watch(folder.path(), &file);
        let first = watch.next(pin!(pending())).await;
        assert!(!first.asked);
        watch.accept(&first);
        let second = watch.next(pin!(async {})).await;
        assert!(second.asked, "asked for, nothing changed");

        let change = async {
            // As long as it takes until the watch stands; what was there before is no change.
            for n in 0.. {
                fs::write(&file, n.to_string()).unwrap();
                sleep(Duration::from_millis(50)).await;
            }
        };
        let nobody = pin!(pending());
        tokio::select! {
            look = watch.next(nobody) => assert!(!look.asked && look.found != first.found),
            () = change => {}
        }
    }

    #[test]
    fn every_link_on_the_way_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        fs::create_dir_all(path.join("trees/one/rules")).unwrap();
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, path.join(name)).unwrap();
        link(Path::new("trees/one"), "current");
        link(&path.join("current"), "git");
        link(Path::new("circle"), "circle");
        let names = |way: &str| -> Vec<PathBuf> {
            links_to(&path.join(way)).iter().map(|link| link.strip_prefix(&path).unwrap().to_owned()).collect()
        };
        assert_eq!(names("git/rules"), [Path::new("git"), Path::new("current")]);
        assert_eq!(names("git/../current/rules"), [Path::new("git"), Path::new("current")]);
        assert!(names("trees/one/rules").is_empty());
        assert_eq!(names("circle").len(), MOST_LINKS);
    }

    #[tokio::test]
    async fn a_link_on_the_way_that_is_swapped_is_a_reason_to_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for version in ["v1", "v2"] {
            fs::create_dir_all(path.join(version).join("rules")).unwrap();
            fs::write(path.join(version).join("rules/a.py"), version).unwrap();
        }
        std::os::unix::fs::symlink("v1", path.join("current")).unwrap();
        let mut watch = watch(&path.join("current/rules"), &path.join("margay.toml"));
        let first = watch.next(pin!(pending())).await;
        watch.accept(&first);
        let swap = async {
            // As long as it takes until the watch stands.
            for n in 0.. {
                let target = if n % 2 == 0 { "v2" } else { "v1" };
                std::os::unix::fs::symlink(target, path.join("next")).unwrap();
                fs::rename(path.join("next"), path.join("current")).unwrap();
                sleep(Duration::from_millis(300)).await;
            }
        };
        let seen = tokio::time::timeout(LOOK_ANYWAY / 2, async {
            let nobody = pin!(pending());
            tokio::select! {
                look = watch.next(nobody) => look,
                () = swap => unreachable!("it never ends"),
            }
        });
        assert!(seen.await.expect("before anybody would look anyway").found != first.found);
    }

    #[test]
    fn neighbours_of_a_file_are_no_reason_to_look() {
        let watched =
            Watched { folders: vec!["rules".into()], counts: |_| true, files: vec!["etc/margay.toml".into()] };
        let concern = Concern { watched, links: vec!["git/current".into()] };
        for (path, concerns) in [
            ("rules/a.py", true),
            ("etc/margay.toml", true),
            ("etc/..data", true),
            ("etc/margay.db-wal", false),
            ("etc/.margay.toml.swp", false),
            ("git/current", true),
            ("git/current.next", false),
        ] {
            assert_eq!(concern.includes(&[path.into()]), concerns, "{path}");
        }
        assert!(concern.includes(&[]), "an event that does not say where it was can be anywhere");
    }

    #[tokio::test]
    async fn other_folders_are_looked_at_at_once() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut watch = watch(folder.path(), Path::new("nowhere/margay.toml"));
        let look = watch.look().await;
        watch.accept(&look);
        watch.turn_to(&[other.path().into()]);
        let look = watch.next(pin!(pending())).await;
        watch.accept(&look);
        assert!(!look.asked);
    }
}
