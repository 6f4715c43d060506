//! The worker side of detection: one RustPython interpreter that runs rules, in a process of its own.
//!
//! The only place that names RustPython. Knows nothing of the daemon beyond the words of [`super::protocol`]; guards,
//! batching, retries and defaults are the daemon's. Nothing a rule does can end a call with anything but a value, a
//! fault, or the end of the process.
//!
//! From the outside in: `serve` (the process), `walls` (what the operating system keeps it from), `runner` (calls), `loader`
//! (modules), `interpreter` (what Python there is), `seal` (what rules share), `event` (what rules see); `declared` adds what
//! a rule's YAML says; `functions`, `context`, `fault`, `text` shape what comes back; `tree` and `jsonpath` read events
//! without Python; `key_value` asks the daemon for what rules keep; `watch` keeps the time, `laps` adds up whose it was.

mod context;
mod data_model;
mod declared;
mod deep;
mod event;
mod fault;
mod functions;
mod interpreter;
mod jsonpath;
mod key_value;
mod laps;
mod loader;
mod lookup;
mod mocks;
mod output;
mod runner;
mod seal;
mod serve;
#[cfg(test)]
pub(super) mod probe;
mod text;
pub(super) mod tree;
mod walls;
mod watch;

pub(super) use interpreter::may_have_module;
pub(super) use jsonpath::JsonPath;
pub use serve::serve;
