//! What the stand-in knows: messages and their leases, objects, sessions, and every call that came. Plain values under
//! locks that are never held across an await.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::faults::{Effects, Faults, Refusal, Script};

/// The daemon's own access key.
pub const OWN_KEY: &str = "AKIAMARGAYTESTS";
pub const QUEUE: &str = "notifications";

/// What can be asked. A batch call counts as one call for each of its entries, so that a story holds whether the
/// daemon sends batches or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    ReceiveMessage,
    DeleteMessage,
    ChangeVisibility,
    GetQueueAttributes,
    GetObject,
    HeadObject,
    HeadBucket,
    ListObjects,
    AssumeRole,
    GetCallerIdentity,
    ConfirmSubscription,
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Call {
    pub op: Op,
    /// Message id, key, bucket or role; empty where there is none.
    pub subject: String,
    /// What else matters: the new visibility, the range, the token, the external id.
    pub detail: String,
}

pub struct State {
    queue: Mutex<Queue>,
    buckets: Mutex<HashMap<String, Bucket>>,
    /// By their access keys, with why they are not taken any more.
    sessions: Mutex<HashMap<String, Option<Refusal>>>,
    faults: Mutex<Faults>,
    calls: Mutex<Vec<Call>>,
    /// A message became visible earlier than was foreseen.
    pub arrived: Notify,
}

impl State {
    pub fn new() -> State {
        State {
            queue: Mutex::default(),
            buckets: Mutex::default(),
            sessions: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    pub fn fault(&self, script: Script) {
        locked(&self.faults).push(script);
    }

    /// Notes a call that has come, and says what happens to it.
    pub fn begins(&self, op: Op, subject: &str, detail: impl Into<String>) -> Effects {
        let call = Call { op, subject: subject.to_owned(), detail: detail.into() };
        locked(&self.calls).push(call);
        locked(&self.faults).take(op, subject)
    }

    /// Makes a bucket.
    pub fn store(&self, bucket: &str, region: &str) {
        let made = Bucket { region: region.to_owned(), objects: BTreeMap::new() };
        locked(&self.buckets).insert(bucket.to_owned(), made);
    }

    /// The ETag, in quotes.
    pub fn put(&self, bucket: &str, key: &str, content: Content) -> String {
        let object = Object { etag: content.etag(), content };
        let etag = object.etag.clone();
        let mut buckets = locked(&self.buckets);
        let bucket = buckets.get_mut(bucket).expect("objects are put into buckets that exist");
        bucket.objects.insert(key.to_owned(), object);
        etag
    }

    pub fn remove(&self, bucket: &str, key: &str) {
        locked(&self.buckets).get_mut(bucket).and_then(|bucket| bucket.objects.remove(key));
    }

    /// Reads in a bucket; `None` when there is none of that name.
    pub fn in_bucket<T>(&self, bucket: &str, read: impl FnOnce(&Bucket) -> T) -> Option<T> {
        locked(&self.buckets).get(bucket).map(read)
    }

    /// The access key of a new session.
    pub fn begin_session(&self) -> String {
        let mut sessions = locked(&self.sessions);
        let key = format!("ASIAMARGAY{:06}", sessions.len());
        sessions.insert(key.clone(), None);
        key
    }

    pub fn end_sessions(&self, refusal: Refusal) {
        locked(&self.sessions).values_mut().for_each(|state| *state = Some(refusal.clone()));
    }

    /// Why this access key is not taken, if it is not.
    pub fn refused(&self, access_key: &str) -> Option<Refusal> {
        if access_key == OWN_KEY {
            return None;
        }
        let unknown = || Some(Refusal::new(403, "InvalidAccessKeyId", "The access key id does not exist"));
        locked(&self.sessions).get(access_key).cloned().unwrap_or_else(unknown)
    }

    pub fn calls(&self, op: Op) -> Vec<Call> {
        locked(&self.calls).iter().filter(|call| call.op == op).cloned().collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding a part of the state")
}

/// Messages in the order in which they came.
#[derive(Default)]
pub struct Queue {
    messages: BTreeMap<u64, Message>,
    count: u64,
    handles: u64,
    deleted: Vec<String>,
    /// How often each of those was delivered, and handed back.
    past: BTreeMap<String, (u32, u32)>,
}

struct Message {
    body: String,
    receives: u32,
    visible_at: Instant,
    /// Of the newest delivery.
    handle: u64,
    /// Of the newest delivery.
    lease: Duration,
    /// How often it was handed back.
    hand_backs: u32,
    /// Handed back, and not delivered since.
    rests: bool,
}

/// A delivery.
pub struct Delivered {
    pub id: String,
    pub handle: String,
    pub body: String,
    pub receives: u32,
}

/// What a handle is worth.
pub enum Handle {
    /// The newest of a message that is there, and whether it is still leased.
    Current { number: u64, leased: bool },
    /// An older one.
    Stale,
    /// The message is gone, or there never was one.
    Gone,
}

impl Queue {
    pub fn send(&mut self, body: &str) -> String {
        self.count += 1;
        let message = Message {
            body: body.to_owned(),
            receives: 0,
            visible_at: Instant::now(),
            handle: 0,
            lease: Duration::ZERO,
            hand_backs: 0,
            rests: false,
        };
        self.messages.insert(self.count, message);
        id(self.count)
    }

    /// Leases what is visible, at most `most`; what came first goes first.
    pub fn receive(&mut self, most: usize, lease: Duration) -> Vec<Delivered> {
        let now = Instant::now();
        let visible = self.messages.iter_mut().filter(|(_, message)| message.visible_at <= now).take(most);
        let mut delivered = Vec::new();
        for (number, message) in visible {
            self.handles += 1;
            message.handle = self.handles;
            message.receives += 1;
            message.visible_at = now + lease;
            message.lease = lease;
            message.rests = false;
            delivered.push(Delivered {
                id: id(*number),
                handle: format!("{number}-{}", message.handle),
                body: message.body.clone(),
                receives: message.receives,
            });
        }
        delivered
    }

    /// When the next message becomes visible by itself.
    pub fn next_visible(&self) -> Option<Instant> {
        self.messages.values().map(|message| message.visible_at).min()
    }

    pub fn handle(&self, handle: &str) -> Handle {
        let Some((number, handle)) = numbers(handle) else { return Handle::Gone };
        match self.messages.get(&number) {
            None => Handle::Gone,
            Some(message) if message.handle != handle => Handle::Stale,
            Some(message) => Handle::Current { number, leased: message.visible_at > Instant::now() },
        }
    }

    /// The same time as at the receipt extends the lease; another one hands the message back.
    pub fn change_visibility(&mut self, number: u64, after: Duration) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.visible_at = Instant::now() + after;
            if after != message.lease {
                message.hand_backs += 1;
                message.rests = true;
            }
        }
    }

    /// Makes messages visible at once: those of which this holds.
    fn show(&mut self, which: impl Fn(u64, &Message) -> bool) {
        let shown = self.messages.iter_mut().filter(|(number, message)| which(**number, message));
        shown.for_each(|(_, message)| message.visible_at = Instant::now());
    }

    pub fn end_lease(&mut self, of: &str) {
        self.show(|number, _| id(number) == of);
    }

    pub fn end_leases(&mut self) {
        self.show(|_, _| true);
    }

    /// Ends the delays of the messages that were handed back.
    pub fn end_delays(&mut self) {
        self.show(|_, message| message.rests);
    }

    pub fn hand_backs(&self, of: &str) -> u32 {
        let past = || self.past.get(of).map_or(0, |(_, hand_backs)| *hand_backs);
        self.find(of).map_or_else(past, |message| message.hand_backs)
    }

    /// How often a message was delivered, whether or not it was deleted since.
    pub fn receives(&self, of: &str) -> u32 {
        let past = || self.past.get(of).map_or(0, |(receives, _)| *receives);
        self.find(of).map_or_else(past, |message| message.receives)
    }

    fn find(&self, of: &str) -> Option<&Message> {
        self.messages.iter().find(|(number, _)| id(**number) == of).map(|(_, message)| message)
    }

    pub fn delete(&mut self, number: u64) {
        if let Some(message) = self.messages.remove(&number) {
            self.past.insert(id(number), (message.receives, message.hand_backs));
            self.deleted.push(id(number));
        }
    }

    pub fn deleted(&self) -> &[String] {
        &self.deleted
    }

    /// Waiting and in flight.
    pub fn depth(&self) -> (usize, usize) {
        let now = Instant::now();
        let waiting = self.messages.values().filter(|message| message.visible_at <= now).count();
        (waiting, self.messages.len() - waiting)
    }
}

fn id(number: u64) -> String {
    format!("message-{number}")
}

/// The id of the message that a handle belongs to, whether it is there or not.
pub fn message_of(handle: &str) -> String {
    numbers(handle).map(|(number, _)| id(number)).unwrap_or_default()
}

fn numbers(handle: &str) -> Option<(u64, u64)> {
    let (number, handle) = handle.split_once('-')?;
    Some((number.parse().ok()?, handle.parse().ok()?))
}

pub struct Bucket {
    pub region: String,
    pub objects: BTreeMap<String, Object>,
}

#[derive(Clone)]
pub struct Object {
    pub etag: String,
    pub content: Content,
}

/// The bytes of an object: a piece that is repeated, so that a large object needs no memory.
#[derive(Clone)]
pub struct Content {
    piece: Bytes,
    times: u64,
}

impl Content {
    pub fn repeated(piece: impl Into<Bytes>, times: u64) -> Content {
        Content { piece: piece.into(), times }
    }

    pub fn len(&self) -> u64 {
        self.piece.len() as u64 * self.times
    }

    /// At most `most` bytes from an offset, without a copy; empty at the end.
    pub fn at(&self, offset: u64, most: u64) -> Bytes {
        if offset >= self.len() {
            return Bytes::new();
        }
        let start = (offset % self.piece.len() as u64) as usize;
        let end = self.piece.len().min(start.saturating_add(most as usize));
        self.piece.slice(start..end)
    }

    /// The bytes, when they are there as one piece.
    pub fn whole(&self) -> Option<&Bytes> {
        (self.times == 1).then_some(&self.piece)
    }

    fn etag(&self) -> String {
        let digest = Sha256::digest([&self.piece[..], &self.times.to_le_bytes()].concat());
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    }
}

impl<T: Into<Bytes>> From<T> for Content {
    fn from(bytes: T) -> Content {
        Content::repeated(bytes, 1)
    }
}
