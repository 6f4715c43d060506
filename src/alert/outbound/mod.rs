//! Requests to the world outside, for destinations: only to addresses that [`guard`] lets through, only over
//! connections that [`client`] opened to exactly these.

pub mod client;
pub mod guard;

pub use client::{Client, Request, Response};
pub use guard::{Cidr, Policy};
