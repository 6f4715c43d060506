//! How the alerts of a rule come about and are told, beyond what its own file says.

use serde::{Deserialize, Serialize};

/// The same for every rule of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    /// Alerts of one rule that are delivered in an hour; more are created, and told together when the hour is over.
    pub max_alerts_per_hour: u64,
    /// The same for alerts about errors of one rule.
    pub max_error_alerts_per_hour: u64,
    pub on_storm: OnStorm,
    /// A later match of a higher severity raises that of the alert.
    pub escalate_severity: bool,
    /// A match that counts in an alert which somebody has closed or resolved opens it again.
    pub reopen_on_match: bool,
    /// An alert is told again when it counts 10, 100, 1000, … events.
    pub notify_on_update: bool,
}

impl Default for Alerting {
    fn default() -> Alerting {
        Alerting {
            max_alerts_per_hour: 1000,
            max_error_alerts_per_hour: 10,
            on_storm: OnStorm::Digest,
            escalate_severity: false,
            reopen_on_match: false,
            notify_on_update: false,
        }
    }
}

/// What becomes of a rule that opens more alerts than may be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStorm {
    /// Delivery goes on after the hour, with one message about what was held back.
    #[default]
    Digest,
    /// Its matches are recorded and open no alert any more, until the rule is changed.
    Disable,
}
