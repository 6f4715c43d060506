//! The value types that travel through margay, one file a stage. No I/O, no clock, no vendor crate.
//!
//! A stage consumes the type of the stage before it: [`Message`] -> [`ObjectRef`] -> [`Record`] -> [`Event`]
//! (or [`Reject`]) -> [`Match`] (or [`RuleFault`]) -> [`Alert`].

mod alert;
mod alerting;
mod code;
mod detection;
mod event;
pub mod key_value;
mod local;
mod message;
mod object;
mod query;
mod receiver;
mod record;
mod revision;
mod secret;
mod source;
mod stamp;
mod tape;
mod topic;
mod value;

pub use alert::{Alert, AlertKind, AlertStatus, Comment, DeliveryResponse, News, Severity, Triage, as_rfc3339};
pub use alerting::{Alerting, OnStorm};
pub use code::Code;
pub use detection::{Detections, Match, MatchDetail, RuleFault, RuleMeta, SwitchedOff};
pub use event::{Event, EventBatch, Position, RowId};
pub use local::{file_etag, is_unfinished_name};
pub use message::Message;
pub use object::{ObjectId, ObjectRef};
pub use query::SavedQuery;
pub use receiver::Receiver;
pub use record::{Envelope, Origin, Record, Reject};
pub use revision::{Revision, SeenField, UnknownField};
pub use secret::{Secret, SecretRef};
pub use source::{Access, OnMissing, Route, Stream, StreamType};
pub use stamp::{rfc3339, stored_digits, stored_time};
pub use tape::{Children, Key, Leaf, Names, Seen, Span, TapeRoom, View, Writer};
pub use topic::TopicArn;
pub use value::{Map, MapBuilder, Value};
