//! `saved_query` and `scheduled_query`: SQL over the lake that has a name, and perhaps a schedule.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::SpecError;
use super::unevaluated::require;
use crate::detect::scheduled::ScheduledQuery;
use crate::model::SavedQuery;
use crate::runtime;

const MOST_TAGS: usize = 100;

/// No name has one of these, so that it can stand in any page, link or file.
const NEVER_IN_NAMES: [char; 5] = ['<', '>', '&', '"', '%'];

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct QuerySpec {
    pub analysis_type: String,
    pub query_name: String,
    query: Option<String>,
    athena_query: Option<String>,
    snowflake_query: Option<String>,
    databricks_query: Option<String>,
    pub enabled: Option<bool>,
    pub schedule: Option<Schedule>,
    pub description: Option<String>,
    pub tags: Option<Vec<String>>,
    pub lookback: Option<bool>,
    pub lookback_window_seconds: Option<u64>,
    pub email_config: Option<EmailConfig>,
    #[serde(rename = "CreatedBy")]
    _created_by: Option<Value>,
    #[serde(rename = "BaseVersion")]
    _base_version: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct EmailConfig {
    pub recipients: Vec<String>,
    pub send_empty: Option<bool>,
    pub prefer_attachment: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Schedule {
    pub cron_expression: Option<String>,
    pub rate_minutes: Option<u64>,
    pub timeout_minutes: Option<u64>,
}

impl QuerySpec {
    pub fn is_scheduled(&self) -> bool {
        self.analysis_type == "scheduled_query"
    }

    /// As it is found and run by its name.
    pub fn saved(&self) -> SavedQuery {
        SavedQuery {
            name: self.query_name.clone(),
            description: self.description.clone(),
            tags: self.tags.clone().unwrap_or_default(),
            sql: self.text().unwrap_or_default().to_owned(),
            is_scheduled: self.is_scheduled(),
            schedule: self.scheduled().map(|scheduled| scheduled.schedule.to_string()),
            is_enabled: self.enabled.unwrap_or_default(),
        }
    }

    /// As it runs by itself; `None` of a query without a schedule.
    pub fn scheduled(&self) -> Option<ScheduledQuery> {
        let schedule = self.schedule.as_ref().filter(|_| self.is_scheduled())?;
        Some(ScheduledQuery {
            name: self.query_name.clone(),
            sql: self.text().unwrap_or_default().to_owned(),
            schedule: schedule.read().ok()?,
            lookback: Duration::from_secs(
                self.lookback_window_seconds.filter(|_| self.lookback.unwrap_or_default()).unwrap_or(0),
            ),
            timeout: schedule.timeout_minutes.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
        })
    }

    /// In the dialect that is nearest to the one here.
    fn text(&self) -> Option<&str> {
        let texts = [&self.query, &self.snowflake_query, &self.athena_query, &self.databricks_query];
        texts.into_iter().find_map(|text| text.as_deref())
    }

    /// Its text, where tables are named as margay names them.
    pub fn with_our_tables(&self) -> Option<&str> {
        self.query.as_deref().or(self.snowflake_query.as_deref())
    }

    pub(super) fn checked(self) -> Result<QuerySpec, SpecError> {
        let scheduled = self.is_scheduled();
        require(!self.query_name.is_empty(), "`QueryName` is empty")?;
        require(!self.query_name.contains(NEVER_IN_NAMES), "`QueryName` must have none of < > & \" %")?;
        require(self.tags.as_ref().is_none_or(|tags| tags.len() <= MOST_TAGS), "`Tags` has more than 100 tags")?;
        require(
            self.text().is_some(),
            "one of `Query`, `AthenaQuery`, `SnowflakeQuery` and `DatabricksQuery` is needed",
        )?;
        match (&self.schedule, scheduled) {
            (Some(schedule), _) => schedule.check()?,
            (None, true) => return Err(SpecError::new("`Schedule` is missing")),
            (None, false) => {}
        }
        require(!scheduled || self.enabled.is_some(), "`Enabled` is missing")?;
        let year = 366 * 24 * 3600;
        require(
            self.lookback_window_seconds.is_none_or(|seconds| seconds <= year),
            "`LookbackWindowSeconds` must be at most a year",
        )?;
        Ok(self)
    }
}

impl Schedule {
    pub(super) fn check(&self) -> Result<(), SpecError> {
        require(self.timeout_minutes != Some(0), "`TimeoutMinutes` must be at least 1")?;
        if let (None, Some(rate)) = (&self.cron_expression, self.rate_minutes) {
            require(rate > 1, "`RateMinutes` must be above 1")?;
            let timeout = self.timeout_minutes.unwrap_or(0);
            require(rate >= timeout, "`RateMinutes` must not be below `TimeoutMinutes`")?;
        }
        self.read().map(|_| ())
    }

    fn read(&self) -> Result<runtime::Schedule, SpecError> {
        let (schedule, key) = match (&self.cron_expression, self.rate_minutes) {
            (Some(cron), None) => (runtime::Schedule::cron(cron), "CronExpression"),
            (None, Some(rate)) => (runtime::Schedule::rate(rate), "RateMinutes"),
            _ => return Err(SpecError::new("`Schedule` needs exactly one of `CronExpression` and `RateMinutes`")),
        };
        schedule.map_err(|problem| SpecError::new(format!("`{key}`: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Item, parse};

    fn problem(yaml: &str) -> String {
        parse(yaml).unwrap_err().message
    }

    #[test]
    fn queries_need_a_text_and_a_schedule_that_can_be_kept() {
        let query = "AnalysisType: scheduled_query\nQueryName: q\nEnabled: true\nQuery: SELECT 1\n";
        assert!(parse(&format!("{query}Schedule: {{RateMinutes: 15, TimeoutMinutes: 5}}\n")).is_ok());
        assert!(parse(&format!("{query}Schedule: {{CronExpression: '0 5 * * *', TimeoutMinutes: 5}}\n")).is_ok());
        for (rest, said) in [
            ("", "`Schedule` is missing"),
            ("Schedule: {RateMinutes: 1}\n", "above 1"),
            ("Schedule: {RateMinutes: 5, TimeoutMinutes: 9}\n", "below `TimeoutMinutes`"),
            ("Schedule: {CronExpression: '* * *'}\n", "five fields"),
            ("Schedule: {CronExpression: '0 5 * * MON'}\n", "`CronExpression`: `MON` is not understood"),
            ("Schedule: {RateMinutes: 5, TimeoutMinutes: 0}\n", "`TimeoutMinutes`"),
            ("Schedule: {RateMinutes: 5, CronExpression: '* * * * *'}\n", "exactly one"),
        ] {
            assert!(problem(&format!("{query}{rest}")).contains(said), "{rest}");
        }
        for schedule in
            ["Schedule: {TimeoutMinutes: 5, CronExpression: '60 * * * *'}", "Schedule:\n  CronExpression: x"]
        {
            let error = parse(&format!("{query}{schedule}\n")).unwrap_err();
            let line = 4 + schedule.lines().count() as u64;
            assert_eq!(error.line, Some(line), "{schedule}: {}", error.message);
        }
        assert!(problem("AnalysisType: saved_query\nQueryName: q\n").contains("one of `Query`"));
        assert!(problem("AnalysisType: saved_query\nQueryName: a<b\nQuery: SELECT 1\n").contains("none of"));
        let tags = "x, ".repeat(101);
        let tagged = format!("AnalysisType: saved_query\nQueryName: q\nQuery: SELECT 1\nTags: [{tags}]\n");
        assert!(problem(&tagged).contains("100 tags"));
    }

    #[test]
    fn the_text_in_the_nearest_dialect_is_taken() {
        let query =
            "AnalysisType: saved_query\nQueryName: q\nAthenaQuery: SELECT 1\nSnowflakeQuery: SELECT 2\nTags: [a]\n";
        let items = parse(query).unwrap();
        let [Item::Query(query)] = &items[..] else { panic!("one query") };
        let saved = query.saved();
        assert_eq!((saved.sql.as_str(), saved.is_scheduled, saved.tags.len()), ("SELECT 2", false, 1));
    }
}
