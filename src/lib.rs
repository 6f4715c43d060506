//! margay: see the README for what it does.

pub mod alert;
pub mod aws;
pub mod detect;
pub mod fetch;
pub mod http;
pub mod lake;
pub mod logtype;
pub mod model;
pub mod notify;
pub mod pipeline;
pub mod queue;
pub mod runtime;
pub mod source;
pub mod state;
pub mod telemetry;
