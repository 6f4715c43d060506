//! margay reads security logs as they land in S3, turns them into typed events, runs Python detections over every event
//! and raises alerts. The README says how to use it; this page is the map of the code.
//!
//! # The way of the data
//!
//! ```text
//!           SQS queue                                   rules/            log types
//!               |                                         |                  |
//!    notify  what happened: which objects are new         |                  |
//!    source  whose bucket, which role, which log types    |                  |
//!    fetch   bytes, streamed, resumed, bounded            |                  |
//!    decode  decompress by magic, split into records      |                  |
//!    logtype classify + parse each record  <--------------+------------------+
//!               |  EventBatch
//!               +-----------------------------+
//!    detect  rules, in worker processes       |   lake   keeps every event
//!    state   windows, alerts, outbox, ledger  |   search SQL over it, read only
//!    alert   delivers from the outbox         |
//!               +-----------------------------+
//!    pipeline   acknowledges the message only when both sides are durable
//! ```
//!
//! To follow one object from notification to alert, read `pipeline/` from its first file; it names every other room in
//! the order in which the object visits them.
//!
//! # Rooms, in reading order
//!
//! - [`cli`]: The command line, one file a command.
//! - [`app`]: The composition root: builds the parts, starts them, ends them.
//! - [`config`]: TOML and environment, validated once, every problem at once.
//! - [`queue`]: The queue of notifications: port and adapters.
//! - [`notify`]: Message bodies -> objects. Pure.
//! - [`topic`]: Subscriptions of the queue to SNS topics: port and adapters.
//! - [`source`]: Object -> source, and the identity that reads it.
//! - [`fetch`]: Objects -> bytes: port and adapters.
//! - [`remote`]: Folders of rules and log types that lie in S3, and their copies.
//! - [`decode`]: Bytes -> records. Pure.
//! - [`logtype`]: Records -> typed events. Pure.
//! - [`lookup`]: Events -> what tables know about their values.
//! - [`detect`]: Events -> matches and faults, in worker processes.
//! - [`state`]: What survives a restart: ledger, windows, alerts, outbox, quarantine, what rules keep between events.
//! - [`alert`]: From the outbox to people.
//! - [`lake`]: Where every event is kept: ports, buffers, commits that show each row once, Iceberg tables.
//! - [`search`]: SQL over the lake, read only.
//! - [`pipeline`]: One message from receipt to acknowledgement.
//! - [`schedule`]: Queries that run by themselves, and rules over what they find.
//! - [`http`]: Health, readiness, metrics, log levels, the API for alerts and searches.
//! - [`telemetry`]: Logs and metrics, each declared once.
//! - [`runtime`]: Clock, tasks, back-off, byte budget.
//! - [`model`]: The value types that travel. No I/O.
//! - [`aws`]: The one place that builds the AWS SDK configuration; secrets that AWS keeps.
//!
//! # What never happens
//!
//! - A message is acknowledged before the outcome of everything in it is durable.
//! - A record disappears: it is an event, or a reject that is kept with its reason.
//! - A row is shown twice: `lake/commit` tells why a crash or a lost answer can't bring that about.
//! - A rule runs in the daemon's process, or reaches a file, the network or the environment.
//! - A module reads the environment (`config/` does), asks the system for the time (a `Clock` does) or spawns a task
//!   past `runtime::Tasks`.
//! - A buffer, queue or wait is unbounded.
//! - The pipeline names an adapter; `app` alone does (and `cli/bench`, which composes daemons of its own).
//!
//! # To add …
//!
//! - a log type: one YAML in `config/log_types/`, samples in `tests/corpus/log_types/`; no Rust.
//! - a notification format: one file in `notify/format/`, one line in its table, one fixture.
//! - a destination: one file in `alert/destination/`, its line in the table there and its key in `alert/settings`.
//! - a metric: one declaration in `telemetry/metrics`; the README's table is checked against it by a test.
//! - a command: one file in `cli/`.
//! - a configuration key: a field of the module's own `Config`; the README's table is checked against it.
//!
//! `tests/tidy.rs` keeps the table of which module may import which.

pub mod cli;
pub mod app;
pub mod config;
pub mod queue;
pub mod notify;
pub mod topic;
pub mod source;
pub mod fetch;
pub mod remote;
pub mod decode;
pub mod logtype;
pub mod lookup;
pub mod detect;
pub mod state;
pub mod alert;
pub mod lake;
pub mod search;
pub mod pipeline;
pub mod schedule;
pub mod http;
pub mod telemetry;
pub mod runtime;
pub mod model;
pub mod aws;
