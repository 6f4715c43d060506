//! From the bytes of a file or object to a table, or why it can't be one, with the line.

use std::sync::Arc;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::Limits;
use super::index::{Networks, Texts};
use super::rows::{Rows, expiration};
use super::table::{Contents, Index, Table, text_of};
use crate::decode::{Decoder, Limits as DecodeLimits, Pace, Piece};
use crate::logtype::{PrimaryKey, RowReader, Schema, stream_of};
use crate::model::{Map, Stream, StreamType, Value};

/// A row that is longer is a mistake in the quotes of the file.
const MOST_OF_ROW: usize = 4 * 1024 * 1024;

/// What is wrong with the rows, and where.
#[derive(Debug, PartialEq)]
pub(super) struct Unreadable {
    /// Of the unpacked text, from 1.
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

/// How the bytes of one table are read.
pub(super) struct Reading<'a> {
    pub(super) schema: &'a Arc<Schema>,
    pub(super) key: &'a PrimaryKey,
    pub(super) limits: Limits,
    pub(super) now: OffsetDateTime,
}

impl Reading<'_> {
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Table, Unreadable> {
        let mut stream = stream_of(&Stream::default(), std::slice::from_ref(self.schema));
        stream.kind = StreamType::Lines;
        if stream.csv_delimiters.is_empty() {
            stream.csv_delimiters = b",".to_vec();
        }
        let limits = DecodeLimits {
            max_object_bytes: self.limits.max_bytes as u64 * MOST_LARGER,
            max_record_bytes: MOST_OF_ROW,
        };
        let mut decoder = Decoder::new(&stream, limits);
        decoder.allow_large_windows();
        let mut building = Building::new(self);
        let (mut input, mut pieces, mut pushed) = (bytes, Vec::new(), false);
        loop {
            let pace = if pushed { decoder.finish(&mut pieces) } else { decoder.push(&mut input, &mut pieces) };
            pieces.drain(..).try_for_each(|piece| building.take(piece))?;
            match pace {
                Ok(Pace::Done) if pushed => return Ok(building.finish()),
                Ok(Pace::Done) => pushed = true,
                Ok(Pace::More | Pace::LargeWindow) => {}
                Ok(Pace::Ranges) => {
                    let message =
                        "a Parquet file is not read as a table; write CSV with a header, or JSON lines".into();
                    return Err(Unreadable { line: None, message });
                }
                Err(error) => return Err(building.fault(error.to_string())),
            }
        }
    }
}

/// Names of fields stand in every line of a file of JSON, and are unpacked from next to nothing: what counts is what the
/// rows take in memory. This bounds what is looked at.
const MOST_LARGER: u64 = 4;

struct Building<'a> {
    reading: &'a Reading<'a>,
    reader: RowReader,
    expiration: Option<&'a Arc<str>>,
    rows: Rows,
    texts: Texts,
    networks: Vec<(IpNet, u32)>,
    /// Of the record that is read.
    line: u64,
}

impl<'a> Building<'a> {
    fn new(reading: &'a Reading<'a>) -> Building<'a> {
        Building {
            reading,
            reader: RowReader::new(reading.schema.clone(), reading.now),
            expiration: reading.schema.expiration(),
            rows: Rows::default(),
            texts: Texts::default(),
            networks: Vec::new(),
            line: 1,
        }
    }

    fn take(&mut self, piece: Piece) -> Result<(), Unreadable> {
        let record = match piece {
            Piece::Record(record) => record,
            Piece::Reject(reject) => return Err(self.fault(reject.reason)),
        };
        let text = std::str::from_utf8(&record.bytes).map_err(|_| self.fault("it is not UTF-8".into()))?;
        if self.line == 1 && text.trim_start_matches('\u{feff}').trim_ascii_start().starts_with('[') {
            return Err(self.fault("this is a JSON array; write one object a line".into()));
        }
        let rows = self.reader.read(text).map_err(|reason| self.fault(reason))?;
        rows.iter().try_for_each(|row| self.add(row)).map_err(|reason| self.fault(reason))?;
        self.line += 1 + memchr::memchr_iter(b'\n', &record.bytes).count() as u64;
        Ok(())
    }

    fn add(&mut self, row: &Map) -> Result<(), String> {
        let Reading { key, limits, now, .. } = self.reading;
        let given = row.get(&key.column).unwrap_or(&Value::Null);
        let keys = match given {
            Value::List(items) => &items[..],
            Value::Null if key.is_list => &[],
            one => std::slice::from_ref(one),
        };
        let expires = self.expiration.map(|column| row.get(column).map_or(i64::MAX, expiration));
        if expires.is_some_and(|end| end <= now.unix_timestamp()) {
            return Ok(());
        }
        if row.iter().any(|(_, value)| is_deeper(value, MOST_DEEP)) {
            return Err(format!("the row is nested deeper than {MOST_DEEP} levels; make it flatter"));
        }
        let at = self.rows.len() as u32;
        if self.rows.len() >= limits.max_rows {
            return Err(format!(
                "more than {} rows; raise `rules.max_table_rows`, or split the table",
                limits.max_rows
            ));
        }
        self.rows.push(row);
        expires.into_iter().for_each(|end| self.rows.expires(end));
        for value in keys {
            match (text_of(value), value) {
                (Some(text), _) if !text.is_empty() => self.add_key(&text, at)?,
                // Elements that say nothing match nothing.
                (_, Value::Null | Value::Str(_)) if matches!(given, Value::List(_)) => {}
                _ => return Err(format!("the row has no `{}`, which is the primary key", key.column)),
            }
        }
        let bytes = self.rows.bytes() + self.texts.bytes() + self.networks.len() * std::mem::size_of::<(IpNet, u32)>();
        if bytes > limits.max_bytes {
            let most = limits.max_bytes / 1024 / 1024;
            return Err(format!("the rows take more than {most} MiB; raise `rules.max_table_mib`, or split the table"));
        }
        Ok(())
    }

    fn add_key(&mut self, key: &str, row: u32) -> Result<(), String> {
        if self.reading.key.is_network {
            let network = key.parse().map_err(|_| format!("`{key}` is no network in CIDR notation"))?;
            self.networks.push((network, row));
        } else {
            self.texts.insert(key, row);
        }
        Ok(())
    }

    fn fault(&self, message: String) -> Unreadable {
        Unreadable { line: Some(self.line), message }
    }

    fn finish(self) -> Table {
        let index = if self.reading.key.is_network {
            Index::Networks(Networks::new(self.networks))
        } else {
            Index::Texts(self.texts.finish())
        };
        Table(Contents::Rows { rows: self.rows.finish(), index })
    }
}

/// Of a row. Readers of JSON refuse what is nested in 128 levels, and rows are put into events, which have some of their own.
pub(super) const MOST_DEEP: usize = 32;

/// Whether a value has more levels than so many.
pub(super) fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::List(_) | Value::Map(_) if levels == 0 => true,
        Value::List(items) => items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Map(map) => map.iter().any(|(_, value)| is_deeper(value, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2024-03-01 12:00 UTC);

    fn read_within(limits: Limits, fields: &str, bytes: &[u8]) -> Result<Table, Unreadable> {
        let text = format!("version: 0\nfields:\n{fields}\n");
        let schema = Arc::new(Schema::from_yaml(&text, "test", Some("Custom.Table")).unwrap());
        let key = schema.primary_key("k").unwrap();
        Reading { schema: &schema, key: &key, limits, now: NOW }.read(bytes)
    }

    fn read(fields: &str, text: &str) -> Result<Table, Unreadable> {
        read_within(Limits { max_rows: 5, max_bytes: 1 << 20 }, fields, text.as_bytes())
    }

    fn row(table: &Table, value: Value) -> String {
        table.row(&value, NOW).map_or_else(|| "none".into(), |row| serde_json::to_string(&row).unwrap())
    }

    fn found(table: &Table, text: &str) -> String {
        row(table, Value::str(text))
    }

    fn fault(fields: &str, text: &str) -> (u64, String) {
        let Unreadable { line, message } = read(fields, text).err().unwrap();
        (line.unwrap_or(0), message)
    }

    const TEXT: &str = "- {name: k, type: string}\n- {name: v, type: string}";

    #[test]
    fn csv_and_json_lines_give_the_same_rows() {
        let csv = read(TEXT, "\u{feff}k,v\r\na,\"x,\ny\"\r\n\r\nb,\r\n").unwrap();
        let json = read(TEXT, "{\"k\":\"a\",\"v\":\"x,\\ny\"}\n\n{\"k\":\"b\",\"v\":\"\"}").unwrap();
        for table in [csv, json] {
            assert_eq!(table.rows(), 2);
            assert_eq!(found(&table, "a"), r#"{"k":"a","v":"x,\ny","p_match":"a"}"#);
            assert_eq!(found(&table, "b"), r#"{"k":"b","v":"","p_match":"b"}"#);
            assert_eq!([found(&table, "A"), found(&table, ""), found(&table, "k")], ["none"; 3]);
        }
    }

    #[test]
    fn packed_files_are_unpacked() {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"k,v\na,b\n").unwrap();
        let table = read_within(Limits { max_rows: 1, max_bytes: 100 }, TEXT, &packed.finish().unwrap()).unwrap();
        assert_eq!(found(&table, "a"), r#"{"k":"a","v":"b","p_match":"a"}"#);
    }

    #[test]
    fn values_are_compared_as_text() {
        let table = read("- {name: k, type: bigint}", "k\n7\n-1\n").unwrap();
        assert_eq!(row(&table, Value::Int(7)), r#"{"k":7,"p_match":"7"}"#);
        assert_eq!(row(&table, Value::str("-1")), r#"{"k":-1,"p_match":"-1"}"#);
        let table = read("- {name: k, type: string}", "k\ntrue\n2.0\n").unwrap();
        assert_eq!(row(&table, Value::Bool(true)), r#"{"k":"true","p_match":"true"}"#);
        assert_eq!(row(&table, Value::Float(2.0)), r#"{"k":"2.0","p_match":"2.0"}"#);
        assert_eq!([row(&table, Value::Null), row(&table, Value::List([].into()))], ["none"; 2]);
    }

    #[test]
    fn any_element_of_an_array_is_a_key() {
        let fields = "- {name: k, type: array, element: {type: string}}\n- {name: v, type: int}";
        let lines = "{\"k\":[\"a\",\"b\",\"\",null],\"v\":1}\n{\"k\":[],\"v\":2}\n{\"k\":[\"c\"],\"v\":3}\n";
        let table = read(fields, lines).unwrap();
        assert!(found(&table, "b").ends_with(r#","v":1,"p_match":"b"}"#));
        assert!(found(&table, "c").ends_with(r#""v":3,"p_match":"c"}"#));
    }

    #[test]
    fn networks_match_their_addresses() {
        let fields = "- {name: k, type: string, validate: {cidr: any}}\n- {name: v, type: int}";
        let table = read(fields, "k,v\n10.0.0.0/8,1\n10.1.0.0/16,2\n2001:db8::/32,3\n").unwrap();
        for (address, v) in [("10.1.2.3", 2), ("10.2.2.3", 1), ("::ffff:10.2.2.3", 1), ("2001:DB8::5", 3)] {
            assert!(found(&table, address).ends_with(&format!(r#""v":{v},"p_match":"{address}"}}"#)), "{address}");
        }
        for text in ["11.0.0.0", "10.0.0.0/8", "10.1.2.3:80", "10.1", "", "a name"] {
            assert_eq!(found(&table, text), "none", "{text}");
        }
        assert_eq!(fault(fields, "k,v\n10.0.0.1,1\n"), (2, "`k` is not a CIDR block of the demanded kind".into()));
    }

    #[test]
    fn rows_that_are_past_do_not_count() {
        let fields = "- {name: k, type: string, validate: {cidr: any}}\n\
                      - {name: until, type: timestamp, timeFormat: rfc3339, isExpiration: true}";
        let csv = "k,until\n10.0.0.0/8,\n10.1.0.0/16,2024-03-01T12:00:01Z\n10.1.1.0/24,2024-03-01T12:00:00Z\n";
        let table = read(fields, csv).unwrap();
        assert_eq!(table.rows(), 2, "what is past already is not kept");
        let at = |now| table.row(&Value::str("10.1.1.1"), now).unwrap().get("k").unwrap().as_str().unwrap().to_owned();
        assert_eq!(at(NOW), "10.1.0.0/16");
        assert_eq!(at(NOW + time::Duration::seconds(1)), "10.0.0.0/8");
    }

    #[test]
    fn faults_have_a_line_and_bounds_a_setting() {
        let numbers = "- {name: k, type: string}\n- {name: n, type: int}";
        assert_eq!(fault(numbers, "k,n\n\"a\nb\",1\nc,x\n"), (4, "`n` is no integer of the expected size".into()));
        assert_eq!(fault(TEXT, "k,v\na,b\n,c\n"), (3, "the row has no `k`, which is the primary key".into()));
        assert_eq!(fault(TEXT, "v\nx\n").0, 2);
        assert!(fault(TEXT, "k,v\na\n").1.contains("1 values where 2 columns"));
        assert!(fault(TEXT, "[{\"k\":\"a\"}]").1.contains("one object a line"));
        assert!(fault(TEXT, "k,v\n1,\n2,\n3,\n4,\n5,\n6,\n").1.contains("rules.max_table_rows"));
        let small = Limits { max_rows: 5, max_bytes: 30 };
        let error = read_within(small, TEXT, b"k,v\na,0123456789\nb,0123456789\n").err().unwrap();
        assert_eq!(error.line, Some(3));
        assert!(error.message.contains("rules.max_table_mib"), "{}", error.message);
        let error = read_within(small, TEXT, b"PAR1").err().unwrap();
        assert!(error.message.contains("Parquet") || error.line.is_some(), "{}", error.message);
    }

    #[test]
    fn an_empty_file_is_an_empty_table() {
        assert_eq!(read(TEXT, "").unwrap().rows(), 0);
        assert_eq!(read(TEXT, "k,v\n").unwrap().rows(), 0);
    }
}
