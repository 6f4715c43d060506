//! What the tables of the lake hold, as data: which namespace a table is in, which columns it has beside those of its
//! events, by which time it is partitioned, and how long its rows stay.
//!
//! Within the lake, the table of the events of a log type is named by that alone; any other is `namespace/rest`, where the
//! rest is a log type or the name of the one table. The ledger of commits knows tables by these names.

use std::sync::Arc;

use super::columns::{Column, EVENT_TIME, PARSE_TIME, Shape, columns, own};
use crate::logtype::Schema;

/// Tables that are alike.
#[derive(Debug)]
pub struct Family {
    /// Without the prefix.
    pub namespace: &'static str,
    pub tables: Named,
    /// The column by whose hour or day its files are apart.
    pub partition: &'static str,
    pub retention: Retention,
    fields: Fields,
    /// Columns that it adds.
    own: &'static [Own],
}

/// How its tables are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    ByLogType,
    One(&'static str),
}

/// For how long rows stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    AsEvents,
    AsMonitoring,
    Unlimited,
}

/// Which columns come before its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    /// Those of the log type, and the standard ones.
    OfLogType,
    Standard,
    /// What can be said of something that is no event.
    OfRecord,
}

/// Name, shape and description of a column.
type Own = (&'static str, Kind, &'static str);

/// The shapes that such columns have.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Texts,
    Json,
    Long,
    Time,
}

pub static LOGS: Family = Family {
    namespace: "logs",
    tables: Named::ByLogType,
    partition: EVENT_TIME,
    retention: Retention::AsEvents,
    fields: Fields::OfLogType,
    own: &[],
};

pub static RULE_MATCHES: Family = Family {
    namespace: "rule_matches",
    tables: Named::ByLogType,
    partition: PARSE_TIME,
    retention: Retention::Unlimited,
    fields: Fields::OfLogType,
    own: &[
        RULE_ID,
        RULE_VERSION,
        RULE_SEVERITY,
        RULE_TAGS,
        RULE_REPORTS,
        ALERT_ID,
        ALERT_CREATION_TIME,
        ALERT_UPDATE_TIME,
        ALERT_SEVERITY,
        ALERT_CONTEXT,
        ("p_alert_title", Kind::Text, "Title that the rule gave to this match"),
        DEDUP,
    ],
};

pub static RULE_ERRORS: Family = Family {
    namespace: "rule_errors",
    tables: Named::ByLogType,
    partition: PARSE_TIME,
    retention: Retention::Unlimited,
    fields: Fields::OfLogType,
    own: &[
        RULE_ID,
        RULE_VERSION,
        RULE_SEVERITY,
        RULE_TAGS,
        RULE_REPORTS,
        ALERT_ID,
        ALERT_CREATION_TIME,
        ALERT_UPDATE_TIME,
        DEDUP,
        ("p_rule_error", Kind::Text, "What the rule raised, with file, line and function"),
        ("p_rule_error_type", Kind::Text, "Class of what it raised; RuleTimeout and RuleCrash are margay's own"),
    ],
};

pub static SIGNALS: Family = Family {
    namespace: "signals",
    tables: Named::One("correlation_signals"),
    partition: PARSE_TIME,
    retention: Retention::Unlimited,
    fields: Fields::Standard,
    own: &[
        RULE_ID,
        RULE_VERSION,
        RULE_SEVERITY,
        RULE_TAGS,
        ALERT_ID,
        ALERT_SEVERITY,
        ALERT_CONTEXT,
        ("p_title", Kind::Text, "Title that the rule gave to this match"),
        DEDUP,
        ("event", Kind::Json, "The whole event"),
    ],
};

pub static CLASSIFICATION_FAILURES: Family = Family {
    namespace: "monitor",
    tables: Named::One("classification_failures"),
    partition: PARSE_TIME,
    retention: Retention::AsMonitoring,
    fields: Fields::OfRecord,
    own: &[
        ("raw", Kind::Text, "The record; bytes that are no text are replaced, and what is long is cut"),
        ("p_classification_errors", Kind::Text, "Why no log type of its source took it"),
    ],
};

pub static DATA_AUDIT: Family = Family {
    namespace: "monitor",
    tables: Named::One("data_audit"),
    partition: PARSE_TIME,
    retention: Retention::AsMonitoring,
    fields: Fields::OfRecord,
    own: &[
        ("bucket", Kind::Text, "Bucket of the object"),
        ("key", Kind::Text, "Key of the object"),
        ("version_id", Kind::Text, "Its version, in a bucket that has versions"),
        ("etag", Kind::Text, "Its ETag"),
        ("size", Kind::Long, "Its bytes, as they are stored"),
        ("state", Kind::Text, "How it ended"),
        ("reason", Kind::Text, "Why, where it did not end as committed"),
        ("bytes", Kind::Long, "Its bytes, decompressed"),
        ("entries", Kind::Long, "Its records"),
        ("events", Kind::Long, "Events that they gave"),
        ("failures", Kind::Long, "Records that no log type took"),
        ("attempts", Kind::Long, "How often it was tried"),
        ("duration_ms", Kind::Long, "How long the last of its tries took"),
    ],
};

pub static SOURCE_HEALTH: Family = Family {
    namespace: "monitor",
    tables: Named::One("source_health"),
    partition: PARSE_TIME,
    retention: Retention::AsMonitoring,
    fields: Fields::OfRecord,
    own: &[
        ("check", Kind::Text, "What was examined"),
        ("verdict", Kind::Text, "healthy, warning, failed or unknown"),
        ("message", Kind::Text, "What was found"),
        ("fix", Kind::Text, "What to change"),
    ],
};

pub static RULE_STATS: Family = Family {
    namespace: "monitor",
    tables: Named::One("rule_stats"),
    partition: PARSE_TIME,
    retention: Retention::AsMonitoring,
    fields: Fields::OfRecord,
    own: &[
        RULE_ID,
        ("runs", Kind::Long, "Events that the rule had to decide on, in one daemon from p_event_time to p_parse_time"),
        ("python_calls", Kind::Long, "How often Python decided"),
        ("python_us", Kind::Long, "Microseconds in Python"),
        ("matches", Kind::Long, "Events that it matched"),
        ("errors", Kind::Long, "Events that it failed on"),
    ],
};

pub static FAMILIES: [&Family; 8] =
    [&LOGS, &RULE_MATCHES, &RULE_ERRORS, &SIGNALS, &CLASSIFICATION_FAILURES, &DATA_AUDIT, &SOURCE_HEALTH, &RULE_STATS];

const RULE_ID: Own = ("p_rule_id", Kind::Text, "The rule");
const RULE_VERSION: Own = ("p_rule_version", Kind::Text, "Hash of the rule as it was");
const RULE_SEVERITY: Own = ("p_rule_severity", Kind::Text, "Severity in the metadata of the rule");
const RULE_TAGS: Own = ("p_rule_tags", Kind::Texts, "Tags of the rule");
const RULE_REPORTS: Own = ("p_rule_reports", Kind::Json, "Reports of the rule, each with a list of texts");
const ALERT_ID: Own = (
    "p_alert_id",
    Kind::Text,
    "The alert that counts it, also below its threshold; none where the rule makes no alerts",
);
const ALERT_CREATION_TIME: Own = ("p_alert_creation_time", Kind::Time, "When the window of the alert began");
const ALERT_UPDATE_TIME: Own = ("p_alert_update_time", Kind::Time, "When the alert counted it");
const ALERT_SEVERITY: Own = ("p_alert_severity", Kind::Text, "Severity that the rule gave to this match");
const ALERT_CONTEXT: Own = ("p_alert_context", Kind::Json, "What alert_context gave");
const DEDUP: Own = ("p_dedup", Kind::Text, "By this matches of the rule are grouped");

/// Of the standard columns, those that a record has which is no event.
const OF_RECORD: [&str; 7] =
    ["p_row_id", EVENT_TIME, PARSE_TIME, "p_source_id", "p_source_label", "p_object", "p_offset"];

impl Family {
    /// The family of a table, and what follows the namespace in its name: a log type, or the name of the one table.
    pub fn of(table: &str) -> (&'static Family, &str) {
        let others = table.split_once('/').and_then(|(namespace, rest)| {
            let is_named = |family: &Family| match family.tables {
                Named::ByLogType => true,
                Named::One(name) => name == rest,
            };
            let mut families = FAMILIES.into_iter().skip(1);
            Some((families.find(|family| family.namespace == namespace && is_named(family))?, rest))
        });
        others.unwrap_or((&LOGS, table))
    }

    /// How long the tables of a namespace, which is without its prefix, keep their rows; `None` for those of others.
    pub fn retention(namespace: &str) -> Option<Retention> {
        FAMILIES.into_iter().find(|family| family.namespace == namespace).map(|family| family.retention)
    }

    /// The name of a table within the lake; a family of one table does not ask for the log type.
    pub fn table(&self, log_type: &str) -> Arc<str> {
        match self.tables {
            Named::One(name) => format!("{}/{name}", self.namespace).into(),
            Named::ByLogType if self.namespace == LOGS.namespace => log_type.into(),
            Named::ByLogType => format!("{}/{log_type}", self.namespace).into(),
        }
    }

    /// The columns of a table. A log type that is gone has none of its own.
    pub fn columns(&self, log_type: Option<&Schema>) -> Vec<Column> {
        let mut all = match self.fields {
            Fields::OfLogType => columns(log_type),
            Fields::Standard => columns(None),
            Fields::OfRecord => {
                let mut some = columns(None);
                some.retain(|column| OF_RECORD.contains(&&*column.name));
                some
            }
        };
        for (name, kind, description) in self.own {
            // A log type may have a field of that name; `p_extra` takes what does not fit into it.
            if !all.iter().any(|column| column.name.eq_ignore_ascii_case(name)) {
                all.push(own(name, kind.shape(), description));
            }
        }
        all
    }
}

impl Kind {
    fn shape(self) -> Shape {
        match self {
            Kind::Text => Shape::Text,
            Kind::Texts => Shape::List(Box::new(Shape::Text)),
            Kind::Json => Shape::Json,
            Kind::Long => Shape::Long,
            Kind::Time => Shape::Time,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lake::names::TableId;
    use crate::logtype::Registry;

    #[test]
    fn every_table_is_found_by_its_name() {
        for family in FAMILIES {
            let name = family.table("AWS.CloudTrail");
            let (found, rest) = Family::of(&name);
            assert!(std::ptr::eq(found, family), "{name}");
            assert_eq!(rest == "AWS.CloudTrail", family.tables == Named::ByLogType);
        }
        assert_eq!(Family::of("Custom/Of.Its.Own").0.namespace, "logs");
        let id = |family: &Family| TableId::of("margay_", &family.table("AWS.CloudTrail")).to_string();
        assert_eq!(id(&LOGS), "margay_logs.aws_cloudtrail");
        assert_eq!(id(&RULE_MATCHES), "margay_rule_matches.aws_cloudtrail");
        assert_eq!(id(&SIGNALS), "margay_signals.correlation_signals");
    }

    #[test]
    fn no_table_has_a_column_twice_and_each_has_the_one_it_is_partitioned_by() {
        let registry = Registry::built_in();
        for family in FAMILIES {
            for schema in registry.schemas() {
                let columns = family.columns(Some(schema));
                let names: BTreeSet<String> = columns.iter().map(|column| column.name.to_lowercase()).collect();
                assert_eq!(names.len(), columns.len(), "{} {}", family.namespace, schema.name);
                assert!(names.contains(family.partition), "{}", family.namespace);
            }
        }
    }
}
