//! A REST catalog to test against: HTTP around pyiceberg, which judges and applies commits.

pub mod server;

use crate::venv;
