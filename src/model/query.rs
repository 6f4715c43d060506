//! A query that somebody gave a name.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedQuery {
    pub name: String,
    pub description: Option<String>,
    pub tags: Vec<String>,
    pub sql: String,
    /// It has a schedule of its own, too.
    pub is_scheduled: bool,
    /// That in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// It runs by its schedule.
    pub is_enabled: bool,
}
