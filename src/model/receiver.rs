//! A destination as routing sees it: its names, and what it is willing to take.

use super::{AlertKind, Severity};

#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    pub name: String,
    /// Another name that rules may use.
    pub id: Option<String>,
    /// One that is not is known and gets nothing.
    pub enabled: bool,
    pub severities: Vec<Severity>,
    pub alert_types: Vec<AlertKind>,
    /// Empty: all.
    pub log_types: Vec<String>,
    /// It keeps an incident of its own for each alert, which ends with the alert.
    pub ends_incidents: bool,
}

impl Receiver {
    pub fn accepting_all(name: impl Into<String>) -> Receiver {
        Receiver {
            name: name.into(),
            id: None,
            enabled: true,
            severities: Severity::ALL.to_vec(),
            alert_types: AlertKind::ALL.to_vec(),
            log_types: Vec::new(),
            ends_incidents: false,
        }
    }

    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.id.as_deref() == Some(name)
    }

    /// Whether it takes an alert that was not sent to it by name.
    pub fn accepts(&self, severity: Severity, kind: AlertKind, log_type: &str) -> bool {
        self.enabled
            && self.severities.contains(&severity)
            && self.alert_types.contains(&kind)
            && (self.log_types.is_empty() || self.log_types.iter().any(|own| own.eq_ignore_ascii_case(log_type)))
    }
}
