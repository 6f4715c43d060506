//! Where events are kept for ever: the port that the pipeline knows, and what stands behind it.
//!
//! `none` keeps nothing and says so. `committer` keeps buffers, one a table (a table holds the rows of one log type), and
//! commits them through the `catalog` port; `commit` is the protocol that shows every row once, whatever crashes, hangs
//! or loses an answer, and `claims` is what the lake knows of an object while it is being read. `rows` are the events of
//! a batch that go to one table, `beside` makes the rows of what else came of it, `table` is their buffer, and `ticket` tells
//! the pipeline when they are durable. `memory` is the honest fake of a catalog, `iceberg` the real one. `families` says what
//! tables there are; they are named by `names` and have the `columns` of their log types, which `encode` fills with events.

mod beside;
pub mod catalog;
mod claims;
pub mod columns;
mod commit;
pub mod committer;
#[cfg(test)]
mod contract;
mod encode;
pub mod families;
pub mod iceberg;
pub mod memory;
pub mod names;
pub mod none;
mod rows;
mod table;
pub mod tables;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
mod ticket;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use beside::{Beside, Finding, RuleCount, told_through};
pub use committer::FLUSH_WAITING;
pub use rows::{Rows, Slice};
pub use ticket::CommitTicket;

use crate::model::{EventBatch, ObjectId, SecretRef};
use crate::state::{ClaimToken, StateError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who knows the tables. `none`: events are evaluated and not kept. `local`: a file in a folder of this machine, for one
    /// daemon. `postgres`: the database of `state.postgres`. `glue`: AWS Glue. `rest`: an Iceberg REST catalog.
    #[serde(rename = "type")]
    pub kind: Kind,
    pub local: LocalConfig,
    /// Where the files of the tables are: `s3://BUCKET/PREFIX`, or an absolute path that all daemons see.
    pub warehouse: Option<String>,
    pub s3: S3Config,
    pub glue: GlueConfig,
    pub rest: RestConfig,
    /// What the namespaces of all tables begin with.
    pub namespace_prefix: String,
    /// How wide the partitions of new tables are.
    pub partition: iceberg::Granularity,
    /// A table is committed when so much is buffered for it …
    pub flush_mib: u64,
    /// … or when its oldest rows have waited for so long.
    pub flush_seconds: u64,
    /// What may be buffered or under commit over all tables.
    pub buffer_mib: u64,
    /// Between two rounds of upkeep; 0: none.
    pub maintain_seconds: u64,
    /// How large the files become that upkeep puts together.
    pub file_mib: u64,
    /// Snapshots and unused files that are older go.
    pub keep_snapshots_days: u32,
    /// Rows whose event is older go; 0: none. What rules found stays.
    pub keep_rows_days: u32,
    /// The same for the tables in which margay tells of its own work.
    pub keep_monitoring_days: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// The folder of the catalog, and of the files where there is no `warehouse`. Relative to the configuration file.
    pub path: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Config {
    /// Region of the bucket of the warehouse, where it is another than the environment's.
    pub region: Option<String>,
    /// The bucket stands in the path of requests, as stores other than Amazon's want it.
    pub path_style: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlueConfig {
    /// Where it is another than the environment's.
    pub region: Option<String>,
    /// The account whose catalog it is, where it is not the own one.
    pub account: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestConfig {
    /// Before `/v1`.
    pub uri: Option<String>,
    /// The server's name for the warehouse, where it has several.
    pub warehouse: Option<String>,
    /// A token that does not end.
    pub token: Option<SecretRef>,
    /// Of an OAuth 2 client, `ID:SECRET`: exchanged for tokens.
    pub credential: Option<SecretRef>,
    /// Where, if not at the catalog itself.
    pub oauth2_uri: Option<String>,
    pub scope: String,
    /// Requests are signed as AWS wants them for one of its own REST catalogs.
    pub sign_for: Option<AwsCatalog>,
    /// Of the signature, where it is another than the environment's.
    pub region: Option<String>,
}

impl Default for RestConfig {
    fn default() -> RestConfig {
        RestConfig {
            uri: None,
            warehouse: None,
            token: None,
            credential: None,
            oauth2_uri: None,
            scope: "catalog".into(),
            sign_for: None,
            region: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AwsCatalog {
    Glue,
    S3Tables,
}

impl AwsCatalog {
    /// As AWS calls it in signatures.
    pub fn service(self) -> &'static str {
        match self {
            AwsCatalog::Glue => "glue",
            AwsCatalog::S3Tables => "s3tables",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    None,
    Local,
    Postgres,
    Glue,
    Rest,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            kind: Kind::None,
            local: LocalConfig::default(),
            warehouse: None,
            s3: S3Config::default(),
            glue: GlueConfig::default(),
            rest: RestConfig::default(),
            namespace_prefix: "margay_".into(),
            partition: iceberg::Granularity::default(),
            flush_mib: 128,
            flush_seconds: 60,
            buffer_mib: 256,
            maintain_seconds: 3600,
            file_mib: 64,
            keep_snapshots_days: 3,
            keep_rows_days: 0,
            keep_monitoring_days: 90,
        }
    }
}

const MIB: u64 = 1024 * 1024;

impl Default for LocalConfig {
    fn default() -> LocalConfig {
        LocalConfig { path: "var/lake".into() }
    }
}

impl Config {
    /// When rows are committed.
    pub fn limits(&self) -> committer::Limits {
        committer::Limits {
            flush_bytes: self.flush_mib * MIB,
            flush_age: std::time::Duration::from_secs(self.flush_seconds),
            buffer_bytes: self.buffer_mib * MIB,
            ..committer::Limits::default()
        }
    }

    /// What upkeep aims at.
    pub fn goals(&self) -> iceberg::maintain::Goals {
        let days = |days: u32| time::Duration::days(days.into());
        iceberg::maintain::Goals {
            file_bytes: self.file_mib * MIB,
            keep_snapshots: days(self.keep_snapshots_days),
            keep_orphans: days(self.keep_snapshots_days),
            keep_rows: (self.keep_rows_days > 0).then(|| days(self.keep_rows_days)),
            keep_monitoring: (self.keep_monitoring_days > 0).then(|| days(self.keep_monitoring_days)),
            ..iceberg::maintain::Goals::default()
        }
    }

    /// What the tables need to be found and made.
    pub fn settings(&self) -> iceberg::Settings {
        iceberg::Settings {
            root: self.local.path.clone(),
            prefix: self.namespace_prefix.clone(),
            partition: self.partition,
        }
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LakeError {
    /// The claim was lost to another owner, whose rows are the ones that count.
    #[error("the claim on object {0} was lost to another owner before its rows were durable")]
    Fenced(ObjectId),
    /// The rows are not known to be durable; the object has to be read again under a new claim.
    #[error("{0}")]
    Failed(String),
}

impl From<StateError> for LakeError {
    fn from(error: StateError) -> LakeError {
        match error {
            StateError::Fenced(object) => LakeError::Fenced(object),
            StateError::Store(reason) => LakeError::Failed(reason),
        }
    }
}

/// Takes batches in and makes them durable in its own time, each row once: what an earlier reading of the same object has
/// made durable is left out.
#[async_trait]
pub trait Lake: Send + Sync {
    /// Buffers a batch of the claimed object; the batches of a claim come one after the other, in the order of the object.
    /// Waits while the buffers are full. The ticket is answered after the commits that hold the batch. After an error, of this or
    /// of a ticket, nothing more is taken under the claim.
    ///
    /// The tickets of a claim are kept until its last batch is in: while one lives, the lake knows the claim.
    async fn append(&self, claim: &ClaimToken, batch: Arc<EventBatch>) -> Result<CommitTicket, LakeError>;

    /// The same for what a batch brought about beside its events, one batch after the other.
    async fn append_beside(&self, claim: &ClaimToken, beside: Beside<'_>) -> Result<CommitTicket, LakeError>;

    /// Commits what is buffered, without waiting for size or age.
    async fn flush(&self) -> Result<(), LakeError>;
}
