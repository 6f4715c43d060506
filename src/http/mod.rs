//! The HTTP server: health, readiness, metrics.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Config {
        Config { listen: (Ipv4Addr::LOCALHOST, 9600).into() }
    }
}
