//! Puts objects into the bucket and announces them, some twice, some by key only, some overwritten soon after; and
//! sends messages that announce nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::content::{self, BUCKET};
use super::oracle::Promise;
use super::world::World;
use crate::source::SourceTable;

pub(super) async fn produce(world: Arc<World>) {
    let sources = content::sources();
    let messages = world.dice().usize(1..7);
    for _ in 0..messages {
        let pause = world.dice().u64(..30_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let kind = world.dice().u8(..12);
        match kind {
            0 => world.send("hello".into(), vec![Promise::Kept("hello".into())]),
            1 => world.send(json!({ "Event": "s3:TestEvent" }).to_string(), Vec::new()),
            2 | 3 => {
                let version = world.put(&sources, None);
                let key = world.book().versions[version].object.key.clone();
                let body = json!({ "s3Bucket": BUCKET, "s3ObjectKey": [key] });
                world.send(body.to_string(), vec![Promise::Key(version)]);
            }
            _ => {
                let count = world.dice().usize(1..4);
                let versions: Vec<usize> = (0..count).map(|_| world.put(&sources, None)).collect();
                world.announce(&versions);
                if world.dice().u8(..4) == 0 {
                    world.announce(&versions);
                }
                if world.dice().u8(..4) == 0 {
                    let pause = world.dice().u64(..20_000);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let newer = world.put(&sources, Some(versions[0]));
                    world.announce(&[newer]);
                }
            }
        }
    }
}

impl World {
    /// Stores an object, over an earlier one where that is said. Gives its number.
    fn put(&self, sources: &SourceTable, over: Option<usize>) -> usize {
        let number = self.book().versions.len();
        let (prefix, bytes) = content::make(&mut self.dice(), number);
        let key = match over {
            Some(earlier) => self.book().versions[earlier].object.key.clone(),
            None => format!("{prefix}{number}"),
        };
        let object = self.store.put(BUCKET, &key, bytes.clone());
        let version = self.version(sources, &object, &bytes);
        let (events, rejects) = (version.events.len(), version.rejects.len());
        self.note(format!("object {number} is {object} ({}): {events} events, {rejects} rejects", object.id()));
        self.book().versions.push(version);
        number
    }

    pub(super) fn announce(&self, versions: &[usize]) {
        let record = |version: &usize| {
            let object = &self.book().versions[*version].object;
            json!({ "eventName": "ObjectCreated:Put", "s3": {
                "bucket": { "name": object.bucket },
                "object": { "key": object.key, "eTag": object.etag, "size": object.size },
            }})
        };
        let records: Vec<_> = versions.iter().map(record).collect();
        let promises = versions.iter().map(|version| Promise::Version(*version)).collect();
        self.send(json!({ "Records": records }).to_string(), promises);
    }

    fn send(&self, body: String, promises: Vec<Promise>) {
        // Noted first: a daemon may take it as soon as it is sent, but not before this returns.
        let id = self.queue.send(body);
        self.note(format!("{id} speaks of {promises:?}"));
        self.book().messages.insert(id, promises);
    }
}
