//! What the log types of an object say about how it is split into records.

use std::sync::Arc;

use super::parser::{Matcher, Parser};
use super::registry::{Registry, UnknownLogType};
use super::schema::Schema;
use crate::model::{Stream, StreamType};

/// The log types whose objects are one document with the events under this member.
const IN_RECORDS: [&str; 2] = ["AWS.CloudTrail", "AWS.CloudTrailInsight"];
const RECORDS: &str = "Records";

impl Registry {
    /// The configured stream with what these candidates imply.
    pub fn stream(&self, configured: &Stream, log_types: &[Arc<str>]) -> Result<Stream, UnknownLogType> {
        let schemas: Result<Vec<_>, _> = log_types.iter().map(|name| self.get(name).cloned()).collect();
        Ok(stream_of(configured, &schemas?))
    }
}

/// The configured stream with what these candidates imply: delimited text, when all of them are; events under
/// `Records`, when one of them comes so.
pub fn stream_of(configured: &Stream, schemas: &[Arc<Schema>]) -> Stream {
    let mut stream = configured.clone();
    let delimiters = schemas.iter().map(|schema| match &schema.parser {
        Parser::Text(parser) => match &parser.matcher {
            Matcher::Csv(csv) => Some(csv.delimiter),
            Matcher::Regex(_) | Matcher::Fastmatch(_) => None,
        },
        Parser::Json | Parser::Native(_) => None,
    });
    stream.csv_delimiters = delimiters.collect::<Option<Vec<u8>>>().unwrap_or_default();
    stream.csv_delimiters.dedup();
    if stream.kind == StreamType::Auto && schemas.iter().any(|schema| IN_RECORDS.contains(&&*schema.name)) {
        stream.json_array_envelope_field = RECORDS.to_string();
    }
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(log_types: &[&str]) -> Stream {
        let folder = tempfile::tempdir().unwrap();
        let schema = |name: &str, delimiter: &str| {
            let path = folder.path().join(format!("{name}.yml"));
            let body = format!(
                "version: 0\nparser: {{csv: {{hasHeader: true, delimiter: \"{delimiter}\"}}}}\nfields: [{{name: a, type: string}}]"
            );
            std::fs::write(&path, body).unwrap();
            path
        };
        let files = [schema("Custom.Comma", ","), schema("Custom.Semicolon", ";")];
        let registry = Registry::built_in().with_files(&files).unwrap();
        let log_types: Vec<Arc<str>> = log_types.iter().map(|name| Arc::from(*name)).collect();
        registry.stream(&Stream::default(), &log_types).unwrap()
    }

    #[test]
    fn records_of_delimited_text_need_every_candidate_to_be_that() {
        assert_eq!(stream(&["Custom.Comma"]).csv_delimiters, b",");
        assert_eq!(stream(&["Custom.Comma", "Custom.Semicolon"]).csv_delimiters, b",;");
        assert_eq!(stream(&["Custom.Comma", "Okta.SystemLog"]).csv_delimiters, b"");
        assert_eq!(stream(&[]).csv_delimiters, b"");
    }

    #[test]
    fn a_candidate_that_comes_in_records_is_looked_for_there() {
        assert_eq!(stream(&["Custom.Comma", "AWS.CloudTrail"]).json_array_envelope_field, "Records");
        assert_eq!(stream(&["Okta.SystemLog"]).json_array_envelope_field, "");
    }
}
