//! What the tables of the lake are called.
//!
//! What a table is named within the lake, `families` tells. In a catalog it has a namespace and a name of small letters,
//! digits and `_`.

use std::fmt;

use super::families::Family;

/// A table as a catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId {
    pub namespace: String,
    pub name: String,
}

impl TableId {
    /// Of the events of a log type.
    pub fn of_logs(prefix: &str, log_type: &str) -> TableId {
        TableId { namespace: format!("{prefix}logs"), name: table_name(log_type) }
    }

    /// Of a table by its name within the lake.
    pub fn of(prefix: &str, table: &str) -> TableId {
        let (family, rest) = Family::of(table);
        TableId { namespace: format!("{prefix}{}", family.namespace), name: table_name(rest) }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// `AWS.CloudTrail` is `aws_cloudtrail`.
pub fn table_name(log_type: &str) -> String {
    let letter = |character: char| match character.to_ascii_lowercase() {
        kept @ ('a'..='z' | '0'..='9') => kept,
        _ => '_',
    };
    log_type.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::logtype::Registry;

    #[test]
    fn names_are_those_that_saved_queries_know() {
        for (table, expected) in [
            ("AWS.CloudTrail", "margay_logs.aws_cloudtrail"),
            ("Microsoft365.Audit.Exchange", "margay_logs.microsoft365_audit_exchange"),
            ("Custom.A-b c", "margay_logs.custom_a_b_c"),
        ] {
            assert_eq!(TableId::of_logs("margay_", table).to_string(), expected);
        }
    }

    #[test]
    fn no_two_shipped_log_types_share_a_table() {
        let registry = Registry::built_in();
        let mut names: BTreeMap<String, &str> = BTreeMap::new();
        for log_type in registry.names() {
            assert_eq!(names.insert(table_name(log_type), log_type), None, "{log_type}");
        }
        assert!(names.len() > 10);
    }
}
