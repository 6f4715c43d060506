//! A table in the form of a MaxMind database: networks, and what is known about each. Its rows are typed by itself, so the
//! log type that the table names is not asked. Every record is looked at once when the table is read, and none is decoded
//! before it is found.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use maxminddb::{Reader, WithinOptions};

use super::Limits;
use super::read::{MOST_DEEP, is_deeper};
use crate::model::{Map, MapBuilder, Value};

/// Several times what the largest databases have. A tree that leads back into itself has no end of them.
const MOST_NETWORKS: usize = 100_000_000;

pub(super) struct MaxMind {
    reader: Reader<Vec<u8>>,
    /// The field of rows that is the network in which the address lies.
    key: Arc<str>,
    records: usize,
}

impl MaxMind {
    pub(super) fn read(bytes: Vec<u8>, key: &Arc<str>, limits: Limits) -> Result<MaxMind, String> {
        let broken = |error: maxminddb::MaxMindDbError| format!("this is no MaxMind database: {error}");
        let reader = Reader::from_source(bytes).map_err(broken)?;
        let mut seen = HashSet::new();
        for (at, network) in reader.networks(WithinOptions::default()).map_err(broken)?.enumerate() {
            let found = network.map_err(broken)?;
            if at == MOST_NETWORKS {
                return Err(format!("more than {MOST_NETWORKS} networks; the database is damaged, or split it"));
            }
            // Many networks share a record.
            if !found.offset().is_some_and(|offset| seen.insert(offset)) {
                continue;
            }
            let of = |said: String| format!("the record of {}: {said}", network_of(&found));
            match found.decode::<Value>().map_err(|error| of(error.to_string()))? {
                Some(row) if is_deeper(&row, MOST_DEEP) => {
                    return Err(of(format!("it is nested deeper than {MOST_DEEP} levels")));
                }
                Some(Value::Map(_)) => {}
                _ => return Err(of("it is no map".to_owned())),
            }
            if seen.len() > limits.max_rows {
                let most = limits.max_rows;
                return Err(format!("more than {most} records; raise `rules.max_table_rows`"));
            }
        }
        let records = seen.len();
        Ok(MaxMind { reader, key: key.clone(), records })
    }

    /// Different records; networks are more.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// What is known about an address, and the network that it is known of.
    pub(super) fn find(&self, address: IpAddr) -> Option<Map> {
        // Whatever can't be decoded was refused when the table was read. An IPv6 address is in no database of IPv4.
        let found = self.reader.lookup(address.to_canonical()).ok()?;
        let Value::Map(record) = found.decode::<Value>().ok()?? else { return None };
        let mut row = MapBuilder::default();
        row.insert(self.key.clone(), Value::str(network_of(&found)));
        record.iter().for_each(|(name, value)| row.insert(name.clone(), value.clone()));
        Some(row.build())
    }
}

fn network_of(found: &maxminddb::LookupResult<'_, Vec<u8>>) -> String {
    found.network().map_or_else(|_| "an unknown network".to_owned(), |network| network.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by another implementation of the format, see `write.py` beside it.
    const DATABASE: &[u8] = include_bytes!("../../tests/corpus/lookup/networks.mmdb");

    const LIMITS: Limits = Limits { max_rows: 10, max_bytes: 1 << 20 };

    fn read(bytes: &[u8]) -> Result<MaxMind, String> {
        MaxMind::read(bytes.to_vec(), &"network".into(), LIMITS)
    }

    fn found(table: &MaxMind, address: &str) -> String {
        let row = table.find(address.parse().unwrap());
        row.map_or_else(|| "nothing".into(), |row| serde_json::to_string(&row).unwrap())
    }

    #[test]
    fn an_address_finds_its_narrowest_network_with_typed_values() {
        let table = read(DATABASE).unwrap();
        assert_eq!(table.records(), 4);
        for (address, row) in [
            (
                "1.2.3.4",
                r#"{"network":"1.2.3.0/24","asn":64500,"name":"One","tags":["a","b"],"geo":{"lat":-1.5,"eu":true}}"#,
            ),
            (
                "::ffff:1.2.3.4",
                r#"{"network":"1.2.3.0/24","asn":64500,"name":"One","tags":["a","b"],"geo":{"lat":-1.5,"eu":true}}"#,
            ),
            ("1.2.9.9", r#"{"network":"1.2.8.0/21","asn":64501,"name":"Wide"}"#),
            ("2001:db8::7", r#"{"network":"2001:db8::/32","asn":18446744073709551615,"name":"Six"}"#),
            ("9.9.9.9", "nothing"),
            ("2001:db9::", "nothing"),
        ] {
            assert_eq!(found(&table, address), row, "{address}");
        }
    }

    #[test]
    fn the_field_of_the_database_counts_where_it_is_named_as_the_key() {
        let table = MaxMind::read(DATABASE.to_vec(), &"name".into(), LIMITS).unwrap();
        assert_eq!(found(&table, "1.2.9.9"), r#"{"name":"Wide","asn":64501}"#);
    }

    #[test]
    fn what_is_no_database_or_too_much_is_refused() {
        for bytes in [&b""[..], b"network,name\n1.2.3.0/24,One\n", &DATABASE[..DATABASE.len() / 2]] {
            let said = read(bytes).err().unwrap();
            assert!(said.starts_with("this is no MaxMind database: "), "{said}");
        }
        let few = Limits { max_rows: 3, ..LIMITS };
        let said = MaxMind::read(DATABASE.to_vec(), &"network".into(), few).err().unwrap();
        assert!(said.contains("rules.max_table_rows"), "{said}");
    }

    #[test]
    fn a_database_that_was_damaged_never_panics() {
        for at in 0..DATABASE.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut bytes = DATABASE.to_vec();
                bytes[at] ^= flip;
                if let Ok(table) = read(&bytes) {
                    found(&table, "1.2.3.4");
                    found(&table, "2001:db8::7");
                }
            }
        }
    }
}
