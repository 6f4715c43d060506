//! Rows of lookup tables: records of a log type that do not become events. They have the fields of their schema and none
//! of the standard ones.
//!
//! The first record decides what the others are: JSON where it is an object, else what the parser of the schema reads,
//! else comma-separated values below a header.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use time::OffsetDateTime;

use super::coerce::{Coercion, Room};
use super::indicator::{Kind as IndicatorKind, Scanner};
use super::parser::{Columns, Csv, Entry, Matcher, Memory, Options, Parser, TextParser};
use super::schema::{Kind, Schema};
use crate::model::Map;

/// What a lookup table is searched by.
#[derive(Clone, Debug, PartialEq)]
pub struct PrimaryKey {
    /// Its name in rows.
    pub column: Arc<str>,
    /// Each element is a key.
    pub is_list: bool,
    /// A row matches the addresses of its network.
    pub is_network: bool,
    /// Where events have such values.
    pub indicators: Vec<IndicatorKind>,
}

impl Schema {
    /// A field as a primary key, or why it can't be one.
    pub fn primary_key(&self, name: &str) -> Result<PrimaryKey, String> {
        let Some(field) = self.fields.fields.iter().find(|field| *field.name == *name) else {
            return Err(format!("`{}` has no field `{name}`, which is the primary key", self.name));
        };
        let (kind, is_list) = match &field.kind {
            Kind::Array { element, .. } => (&**element, true),
            kind => (kind, false),
        };
        let key = PrimaryKey { column: field.column.clone(), is_list, is_network: false, indicators: Vec::new() };
        match kind {
            Kind::String(text) => Ok(PrimaryKey {
                is_network: text.validate.as_ref().is_some_and(|validate| validate.cidr.is_some()),
                indicators: text.indicators.iter().filter_map(|scanner| scanner.of_whole_values()).collect(),
                ..key
            }),
            Kind::Int(_) | Kind::Float | Kind::Boolean => Ok(key),
            Kind::Timestamp(_) | Kind::Array { .. } | Kind::Object { .. } | Kind::Json(_) => Err(format!(
                "`{name}` of `{}` can't be a primary key: that is a string, a number or a boolean, or an array of these",
                self.name
            )),
        }
    }

    /// The column that says until when a row counts.
    pub fn expiration(&self) -> Option<&Arc<str>> {
        let expires = |kind: &Kind| matches!(kind, Kind::Timestamp(timestamp) if timestamp.is_expiration);
        self.fields.fields.iter().find(|field| expires(&field.kind)).map(|field| &field.column)
    }
}

impl Scanner {
    /// What a value is that is an indicator as a whole.
    fn of_whole_values(self) -> Option<IndicatorKind> {
        Some(match self {
            Scanner::Ip => IndicatorKind::IpAddress,
            Scanner::Domain | Scanner::Hostname | Scanner::Fqdn => IndicatorKind::DomainName,
            Scanner::Email => IndicatorKind::Email,
            Scanner::Username => IndicatorKind::Username,
            Scanner::TraceId => IndicatorKind::TraceId,
            Scanner::Md5 => IndicatorKind::Md5,
            Scanner::Sha1 => IndicatorKind::Sha1,
            Scanner::Sha256 => IndicatorKind::Sha256,
            Scanner::AwsArn | Scanner::AwsArnOnly => IndicatorKind::AwsArn,
            Scanner::AwsAccountId => IndicatorKind::AwsAccountId,
            Scanner::AwsInstanceId => IndicatorKind::AwsInstanceId,
            Scanner::AwsTag => IndicatorKind::AwsTag,
            Scanner::ActorId => IndicatorKind::ActorId,
            Scanner::Mac => IndicatorKind::MacAddress,
            Scanner::SerialNumber => IndicatorKind::SerialNumber,
            Scanner::Url | Scanner::NetAddr => return None,
        })
    }
}

/// Reads the records of one table, in order.
pub struct RowReader {
    schema: Arc<Schema>,
    /// Of the records, where it is not that of the schema.
    parser: Option<Parser>,
    memory: Memory,
    begun: bool,
    /// Completes timestamps without a year.
    now: OffsetDateTime,
    room: Room,
}

impl RowReader {
    pub fn new(schema: Arc<Schema>, now: OffsetDateTime) -> RowReader {
        RowReader { schema, parser: None, memory: Memory::default(), begun: false, now, room: Room::default() }
    }

    /// The rows that a record gives: none for a blank one and a header.
    pub fn read(&mut self, record: &str) -> Result<Vec<Map>, String> {
        let text = record.trim_ascii();
        if text.trim_start_matches('\u{feff}').is_empty() {
            return Ok(Vec::new());
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.parser = self.other_parser(text);
        }
        let RowReader { schema, parser, memory, now, room, .. } = self;
        let parser = parser.as_ref().unwrap_or(&schema.parser);
        let mut rows = Vec::new();
        let entry = Entry::new(text);
        let read = || {
            parser.run(&entry, memory, &mut |raw| {
                let mut coercion = Coercion::new(schema, false, *now, entry.text_of(raw), room);
                let members = coercion.record(raw).map_err(|mismatch| mismatch.to_string())?;
                coercion.out.end_map(0, members);
                rows.push(coercion.out.finish());
                Ok(())
            })
        };
        match catch_unwind(AssertUnwindSafe(read)) {
            Ok(read) => read.map(|()| rows),
            Err(_) => Err("the parser panicked, which is a defect of margay; please report it with this row".into()),
        }
    }

    fn other_parser(&self, first: &str) -> Option<Parser> {
        match (&self.schema.parser, first.starts_with('{')) {
            (Parser::Text(_), false) | (Parser::Json, true) => None,
            (_, true) => Some(Parser::Json),
            (_, false) => {
                let matcher = Matcher::Csv(Csv { delimiter: b',', columns: Columns::FromHeader });
                Some(Parser::Text(TextParser { options: Options::default(), matcher }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn schema(body: &str) -> Arc<Schema> {
        Arc::new(Schema::from_yaml(&format!("version: 0\n{body}"), "test", Some("Custom.Table")).unwrap())
    }

    fn rows(body: &str, records: &[&str]) -> Vec<String> {
        let mut reader = RowReader::new(schema(body), datetime!(2024-03-01 12:00 UTC));
        let read = |record: &&str| match reader.read(record) {
            Ok(rows) => rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect(),
            Err(reason) => vec![format!("!{reason}")],
        };
        records.iter().flat_map(read).collect()
    }

    const FIELDS: &str = "fields: [{name: ip, type: string, indicators: [ip]}, {name: n, type: int}]";

    #[test]
    fn rows_have_the_fields_of_the_schema_alone() {
        let csv = ["\u{feff}ip,n,more", "10.0.0.1,7,x", "", "10.0.0.2,,", "10.0.0.3"];
        let expected = [
            r#"{"ip":"10.0.0.1","n":7}"#,
            r#"{"ip":"10.0.0.2"}"#,
            "!the record has 1 values where 3 columns are expected",
        ];
        assert_eq!(rows(FIELDS, &csv), expected);
        let json = [r#"{"ip":"10.0.0.1","n":7,"p_row_id":"x"}"#, r#"{"n":"y"}"#, "ip,n"];
        let expected = [
            r#"{"ip":"10.0.0.1","n":7}"#,
            "!`n` is no integer of the expected size",
            "!the record is not a JSON object",
        ];
        assert_eq!(rows(FIELDS, &json), expected);
    }

    #[test]
    fn a_parser_of_the_schema_reads_text_and_not_json() {
        let own = format!("{FIELDS}\nparser: {{csv: {{delimiter: ';', columns: [n, ip]}}}}");
        assert_eq!(rows(&own, &["7;a", "8;b"]), [r#"{"ip":"a","n":7}"#, r#"{"ip":"b","n":8}"#]);
        assert_eq!(rows(&own, &[r#"{"ip":"a"}"#]), [r#"{"ip":"a"}"#]);
    }

    #[test]
    fn keys_are_scalars_or_arrays_of_them() {
        let fields = "fields: [{name: 'a b', type: array, element: {type: string, indicators: [ip, url], validate: {cidr: any}}}, \
                      {name: at, type: timestamp, isExpiration: true}]";
        let schema = schema(fields);
        let key = schema.primary_key("a b").unwrap();
        assert_eq!((&*key.column, key.is_network, key.indicators), ("a_b", true, vec![IndicatorKind::IpAddress]));
        assert_eq!(schema.expiration().map(|column| &**column), Some("at"));
        assert!(schema.primary_key("at").unwrap_err().contains("can't be a primary key"));
        assert!(schema.primary_key("c").unwrap_err().contains("has no field `c`"));
    }
}
