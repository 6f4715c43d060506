//! Lookup tables: rows of data that people keep beside the logs (assets, networks, bad addresses), and what they say about
//! the values of an event.
//!
//! A [`Definition`] says where a table comes from and which fields of which log types are looked up in it. `read` makes a
//! `table` of bytes: `rows` as text, found by an `index` of the primary key; or the bytes are a database already (`maxmind`). [`Tables`] are all tables of a rule set: which
//! `selector`s an event of a log type has, and the event with the rows that they found under `p_enrichment`. `refresh`
//! reads tables of a bucket anew.
//!
//! Invariants: a table is immutable and shared; another state of it is another table. One that can't be read leaves the
//! former in its place. No stored event has `p_enrichment`: only rules see it. An event of a log type that no table is
//! about costs nothing, and what one event can be given is bounded.

mod index;
mod maxmind;
mod read;
mod refresh;
mod rows;
mod selector;
mod table;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

pub use refresh::Refresher;
pub use selector::Selector;
pub use table::{Table, text_of};
pub use tables::{Absence, Asked, Fault, Found, Tables, Wanted};

use crate::logtype::Registry;
use crate::runtime::SharedClock;

/// The field of an event that holds what was found.
pub const ENRICHMENT: &str = "p_enrichment";

/// A lookup table as its YAML describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The YAML file.
    pub origin: PathBuf,
    pub name: Arc<str>,
    /// The log type that its rows are of.
    pub schema: String,
    /// A field of that log type.
    pub primary_key: String,
    /// Which fields of which log types are looked up. Without any, all events are asked for the indicators that the
    /// primary key is.
    pub selectors: Vec<(String, Vec<Selector>)>,
    pub data: Data,
}

/// Where the rows are.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    File(PathBuf),
    Object(Source),
}

impl Data {
    /// The rows are a MaxMind database, as the end of its name says.
    pub fn is_maxmind(&self) -> bool {
        match self {
            Data::File(path) => path.extension().is_some_and(|extension| extension == MAXMIND),
            Data::Object(source) => source.key.rsplit_once('.').is_some_and(|(_, extension)| extension == MAXMIND),
        }
    }
}

/// End of the name of a MaxMind database.
const MAXMIND: &str = "mmdb";

/// An object that is read anew now and then.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub bucket: String,
    pub key: String,
    pub role_arn: Option<String>,
    pub kms_key_arn: Option<String>,
    pub period: Duration,
    /// After so long without success somebody is told.
    pub alarm: Duration,
}

/// What one table may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_rows: usize,
    /// Of its file as stored, and of its rows in memory.
    pub max_bytes: usize,
}

/// What every table is loaded with. Cheap to clone.
#[derive(Clone)]
pub struct Surroundings {
    /// The log types as they are now.
    pub log_types: Arc<dyn Fn() -> Arc<Registry> + Send + Sync>,
    pub clock: SharedClock,
}

impl Surroundings {
    /// With log types that do not change.
    pub fn fixed(log_types: Arc<Registry>, clock: SharedClock) -> Surroundings {
        Surroundings { log_types: Arc::new(move || log_types.clone()), clock }
    }
}

/// One moment's surroundings.
#[derive(Clone)]
pub struct Loading {
    pub log_types: Arc<Registry>,
    pub limits: Limits,
    pub now: OffsetDateTime,
}
