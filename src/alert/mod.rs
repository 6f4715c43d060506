//! Alerts on their way to people: delivery from the outbox to destinations, and how an alert looks as text.
//!
//! Grouping is decided in `state/window` and routing in `state/route`, inside the transaction that opens an alert.
//!
//! - `settings`: what a person may configure about destinations, and what of it can't be.
//! - `destination`: the port and its adapters, one file each.
//! - `outbound`: the only way out over HTTP: to checked addresses.
//! - `delivery`: the loops that take deliveries from the outbox.
//! - `message`, `digest`, `text`, `render`: an alert, or many, as payloads and text. Pure.
//!
//! To add a destination: one file in `destination/` with its `Config`, and one line in its table.

pub mod delivery;
pub mod destination;
mod digest;
#[cfg(test)]
pub(crate) mod fake;
pub mod message;
pub mod outbound;
pub mod render;
pub mod settings;
pub mod text;

pub use settings::{Config, DestinationConfig, FileConfig, OutputFormat, StdoutConfig};
