//! All tables of a rule set: loaded together, each with its former version where it can't be read, and looked up in for
//! every event.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::maxmind::MaxMind;
use super::read::{Reading, Unreadable};
use super::selector::{Selected, Selector};
use super::table::{Contents, Table};
use super::{Data, Definition, ENRICHMENT, Loading, Source};
use crate::logtype::{PrimaryKey, Schema};
use crate::model::{Event, Map, MapBuilder, Value};

/// Rows that one event is given at most, and their bytes: who writes logs must not decide how much memory rules take.
const MOST_ROWS: usize = 1000;
const MOST_BYTES: usize = 256 * 1024;

/// What is wrong with a table.
#[derive(Debug)]
pub struct Fault {
    pub file: PathBuf,
    pub line: Option<u64>,
    pub table: Arc<str>,
    pub message: String,
    /// It works all the same.
    pub is_warning: bool,
}

impl Fault {
    fn place_and_message(&self) -> String {
        let line = self.line.map_or_else(String::new, |line| format!(":{line}"));
        format!("{}{line}: {}", self.file.display(), self.message)
    }
}

/// A table that is read from a bucket.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub definition: Arc<Definition>,
    /// It was, as it is described now.
    pub is_read: bool,
    /// Of the object that it was read from.
    pub etag: Option<String>,
}

/// Immutable: another state of any table is another value. An empty one costs nothing.
#[derive(Default)]
pub struct Tables {
    /// In the order of their names, which is that of the rows in an event.
    loaded: Vec<Loaded>,
    /// Positions of the tables that events of a log type are looked up in, with the fields.
    by_log_type: HashMap<String, Vec<(usize, Vec<Selector>)>>,
    /// Of all log types: tables that are about a kind of indicator.
    everywhere: Vec<(usize, Vec<Selector>)>,
    /// Tables that are described and whose rows are not here, with the reason.
    absent: BTreeMap<Arc<str>, Absence>,
}

/// Why a table that is described has no rows here.
#[derive(Clone, Debug, PartialEq)]
pub enum Absence {
    /// They can't be read.
    Broken(String),
    /// They are somewhere else.
    Elsewhere(String),
}

/// What a table says about a key that a rule asks for.
#[derive(Debug, PartialEq)]
pub enum Asked<'t> {
    /// The JSON text of the row.
    Row(Cow<'t, str>),
    /// It has no such row.
    Nothing,
    Absent(Absence),
    /// There is no such table; the names of those there are.
    Unknown(Vec<&'t str>),
}

#[derive(Clone)]
struct Loaded {
    definition: Arc<Definition>,
    key: PrimaryKey,
    /// Over what the table is made of: the same stamp, the same table.
    stamp: Stamp,
    /// None until it was read from its bucket.
    table: Option<Arc<Table>>,
    /// The table is of the stamp. Else it is the former one, which stands in until its bucket is read.
    is_current: bool,
    etag: Option<String>,
}

pub(super) type Stamp = [u8; 32];

/// What was found for the events of a batch.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Rows, by the name of the table.
    pub rows: BTreeMap<Arc<str>, u64>,
    /// Events that were given fewer rows than there were.
    pub cut: u64,
}

impl Tables {
    /// Reads the files of the tables. One that can't be used keeps its `former` version, and is a fault.
    pub fn load(definitions: &[Arc<Definition>], loading: &Loading, former: &Tables) -> (Tables, Vec<Fault>) {
        let mut faults = Vec::new();
        let (mut loaded, mut absent) = (BTreeMap::new(), BTreeMap::new());
        for definition in definitions {
            let of_former = former.loaded.iter().find(|one| one.definition.name == definition.name);
            match Loaded::load(definition, loading, of_former) {
                Ok(table) => {
                    faults.extend(table.found_nowhere());
                    loaded.insert(definition.name.clone(), table);
                }
                Err(mut fault) => {
                    if let Some(former) = of_former {
                        fault.message += "; its last good version goes on";
                        loaded.insert(definition.name.clone(), former.clone());
                    } else {
                        absent.insert(definition.name.clone(), Absence::Broken(fault.place_and_message()));
                    }
                    faults.push(fault);
                }
            }
        }
        (Tables { absent, ..Tables::of(loaded.into_values().collect(), loading) }, faults)
    }

    /// The same with tables of which it is only known where their rows are.
    pub fn with_rows_elsewhere(mut self, tables: impl IntoIterator<Item = (Arc<str>, String)>) -> Tables {
        self.absent.extend(tables.into_iter().map(|(name, place)| (name, Absence::Elsewhere(place))));
        self
    }

    /// These tables with the rows of some that were read from their buckets, unless those are described otherwise by now.
    pub fn refreshed(&self, read: Vec<Refreshed>, loading: &Loading) -> Tables {
        let mut loaded = self.loaded.clone();
        for Refreshed { definition, stamp, table, etag } in read {
            let one = loaded.iter_mut().find(|one| one.definition == definition && one.stamp == stamp);
            if let Some(one) = one {
                (one.table, one.is_current, one.etag) = (Some(table), true, etag);
            }
        }
        Tables { absent: self.absent.clone(), ..Tables::of(loaded, loading) }
    }

    fn of(loaded: Vec<Loaded>, loading: &Loading) -> Tables {
        let mut tables = Tables { loaded, ..Tables::default() };
        for (at, one) in tables.loaded.iter().enumerate() {
            if one.definition.selectors.is_empty() {
                let fields = one.key.indicators.iter().map(|kind| kind.field()).collect::<BTreeSet<_>>();
                let fields = fields.into_iter().filter_map(|field| Selector::parse(field).ok()).collect::<Vec<_>>();
                tables.everywhere.extend((!fields.is_empty()).then_some((at, fields)));
            }
            for (log_type, selectors) in &one.definition.selectors {
                // Content spells log types in other cases now and then.
                let known = loading.log_types.get(log_type).map_or(log_type.clone(), |schema| schema.name.to_string());
                let of_type = tables.by_log_type.entry(known).or_default();
                if of_type.last().is_none_or(|(table, _)| *table != at) {
                    of_type.push((at, Vec::new()));
                }
                let (_, of_table) = of_type.last_mut().expect("one was pushed where none was");
                for selector in selectors {
                    if !of_table.iter().any(|known: &Selector| known.name() == selector.name()) {
                        of_table.push(selector.clone());
                    }
                }
            }
        }
        tables.by_log_type.values_mut().for_each(|of_type| of_type.retain(|(_, selectors)| !selectors.is_empty()));
        tables.by_log_type.retain(|_, of_type| !of_type.is_empty());
        tables
    }

    pub fn len(&self) -> usize {
        self.loaded.len()
    }

    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Each with its rows; none where it was not read from its bucket yet.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, Option<usize>)> {
        self.loaded.iter().map(|one| (&*one.definition.name, one.table.as_ref().map(|table| table.rows())))
    }

    /// What a table is described as.
    pub fn definition(&self, name: &str) -> Option<&Definition> {
        self.loaded.iter().find(|one| *one.definition.name == *name).map(|one| &*one.definition)
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Table>> {
        let at = self.loaded.binary_search_by(|one| (*one.definition.name).cmp(name)).ok()?;
        self.loaded[at].table.as_ref()
    }

    /// What the table of this name says about a key.
    pub fn ask(&self, name: &str, key: &str, now: OffsetDateTime) -> Asked<'_> {
        let Ok(at) = self.loaded.binary_search_by(|one| (*one.definition.name).cmp(name)) else {
            let names = || self.loaded.iter().map(|one| &*one.definition.name).collect();
            return self.absent.get(name).map_or_else(|| Asked::Unknown(names()), |why| Asked::Absent(why.clone()));
        };
        match (&self.loaded[at].table, &self.loaded[at].definition.data) {
            (Some(table), _) => table.text(key, now).map_or(Asked::Nothing, Asked::Row),
            (None, Data::Object(Source { bucket, key, .. })) => {
                Asked::Absent(Absence::Elsewhere(format!("s3://{bucket}/{key}")))
            }
            (None, Data::File(path)) => Asked::Absent(Absence::Elsewhere(path.display().to_string())),
        }
    }

    /// Tables that are read from buckets.
    pub fn wanted(&self) -> Vec<Wanted> {
        let of_buckets = self.loaded.iter().filter(|one| matches!(one.definition.data, Data::Object(_)));
        let wanted = |one: &Loaded| Wanted {
            definition: one.definition.clone(),
            is_read: one.is_current,
            etag: one.etag.clone(),
        };
        of_buckets.map(wanted).collect()
    }

    /// The event as rules see it, where that is not as it is stored.
    pub fn enriched(&self, event: &Event, now: OffsetDateTime, found: &mut Found) -> Option<Map> {
        let of_type = self.by_log_type.get(&*event.log_type).map_or(&[][..], Vec::as_slice);
        if of_type.is_empty() && self.everywhere.is_empty() {
            return None;
        }
        let mut room = Room { rows: MOST_ROWS, bytes: MOST_BYTES, was_short: false };
        let mut tables = MapBuilder::default();
        let mut any = false;
        for (at, selectors) in in_order(of_type, &self.everywhere) {
            let Loaded { definition, table: Some(table), .. } = &self.loaded[*at] else { continue };
            let mut rows = 0;
            let mut selected = MapBuilder::default();
            for selector in selectors {
                let value = matches(table, selector.select(&event.fields), now, &mut room, &mut rows);
                value.into_iter().for_each(|value| selected.insert(selector.name().clone(), value));
            }
            if rows > 0 {
                any = true;
                tables.insert(definition.name.clone(), Value::Map(selected.build()));
                match found.rows.get_mut(&definition.name) {
                    Some(count) => *count += rows,
                    None => drop(found.rows.insert(definition.name.clone(), rows)),
                }
            }
        }
        found.cut += u64::from(room.was_short);
        static KEY: LazyLock<Arc<str>> = LazyLock::new(|| ENRICHMENT.into());
        any.then(|| event.fields.with(&KEY, Value::Map(tables.build())))
    }
}

/// Both, by position.
fn in_order<'t>(
    a: &'t [(usize, Vec<Selector>)],
    b: &'t [(usize, Vec<Selector>)],
) -> impl Iterator<Item = &'t (usize, Vec<Selector>)> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(first), Some(second)) if second.0 < first.0 => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

/// What an event may still be given.
struct Room {
    rows: usize,
    bytes: usize,
    was_short: bool,
}

/// The rows of a selector's values: one of one value, a list where there can be several.
fn matches(
    table: &Table,
    Selected { values, many }: Selected<'_>,
    now: OffsetDateTime,
    room: &mut Room,
    rows: &mut u64,
) -> Option<Value> {
    let mut list = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for value in values {
        let Some(hit) = table.find(value, now) else { continue };
        if many && !seen.insert(hit.found_by.clone().into_owned()) {
            continue;
        }
        let bytes = hit.size();
        if room.rows == 0 || room.bytes < bytes {
            room.was_short = true;
            break;
        }
        room.rows -= 1;
        room.bytes -= bytes;
        *rows += 1;
        list.push(Value::Map(hit.into_map()));
    }
    if list.is_empty() {
        return None;
    }
    if many { Some(Value::List(list.into())) } else { list.pop() }
}

/// A table as it was read from its bucket.
pub struct Refreshed {
    pub(super) definition: Arc<Definition>,
    pub(super) stamp: Stamp,
    pub(super) table: Arc<Table>,
    pub(super) etag: Option<String>,
}

/// A definition with the log type that it names.
pub(super) struct Resolved {
    /// None where rows are typed by their file.
    schema: Option<Arc<Schema>>,
    key: PrimaryKey,
    /// Over both, and over where the rows are.
    pub(super) stamp: Stamp,
}

impl Resolved {
    pub(super) fn of(definition: &Definition, loading: &Loading) -> Result<Resolved, String> {
        let place = format!("{:?}", definition.data);
        if definition.data.is_maxmind() {
            let column: Arc<str> = definition.primary_key.as_str().into();
            let stamp = stamp_of([&b"maxmind"[..], column.as_bytes(), place.as_bytes()]);
            return Ok(Resolved { schema: None, key: PrimaryKey::of_network(column), stamp });
        }
        let unknown = |error: crate::logtype::UnknownLogType| format!("`Schema`: {error}");
        let schema = loading.log_types.get(&definition.schema).map_err(unknown)?.clone();
        let key = schema.primary_key(&definition.primary_key)?;
        let text = loading.log_types.text(&definition.schema).map_err(unknown)?;
        let stamp = stamp_of([text.as_bytes(), key.column.as_bytes(), place.as_bytes()]);
        Ok(Resolved { schema: Some(schema), key, stamp })
    }

    pub(super) fn read(&self, bytes: Vec<u8>, loading: &Loading) -> Result<Table, Unreadable> {
        let Loading { limits, now, .. } = *loading;
        match &self.schema {
            Some(schema) => Reading { schema, key: &self.key, limits, now }.read(&bytes),
            None => MaxMind::read(bytes, &self.key.column, limits)
                .map(|database| Table(Contents::MaxMind(database)))
                .map_err(|message| Unreadable { line: None, message }),
        }
    }
}

impl Loaded {
    fn load(definition: &Arc<Definition>, loading: &Loading, former: Option<&Loaded>) -> Result<Loaded, Fault> {
        let fault = |file: &Path, line, message| Fault {
            file: file.to_owned(),
            line,
            table: definition.name.clone(),
            message,
            is_warning: false,
        };
        let resolved = Resolved::of(definition, loading).map_err(|message| fault(&definition.origin, None, message))?;
        let key = resolved.key.clone();
        let (stamp, table) = match &definition.data {
            Data::Object(_) => {
                let (stamp, table) = (resolved.stamp, former.and_then(|former| former.table.clone()));
                let same = former.filter(|former| former.is_current && former.stamp == stamp);
                let etag = same.and_then(|same| same.etag.clone());
                return Ok(Loaded {
                    definition: definition.clone(),
                    key,
                    stamp,
                    table,
                    is_current: same.is_some(),
                    etag,
                });
            }
            Data::File(path) => {
                let bytes = whole_file(path, loading.limits.max_bytes).map_err(|message| fault(path, None, message))?;
                let stamp = stamp_of([&resolved.stamp[..], &bytes]);
                // Rows that are past by now are found by no value, whether they are kept or not.
                let same = former.filter(|former| former.stamp == stamp).and_then(|former| former.table.clone());
                let read = || resolved.read(bytes, loading).map(Arc::new);
                let table = same.map_or_else(read, Ok);
                let table = table.map_err(|Unreadable { line, message }| fault(path, line, message))?;
                (stamp, Some(table))
            }
        };
        Ok(Loaded { definition: definition.clone(), key, stamp, table, is_current: true, etag: None })
    }

    /// A table that no event is looked up in: rules may ask for its rows all the same.
    fn found_nowhere(&self) -> Option<Fault> {
        let names = |(_, selectors): &(String, Vec<Selector>)| !selectors.is_empty();
        let is_found = self.definition.selectors.iter().any(names)
            || (self.definition.selectors.is_empty() && !self.key.indicators.is_empty());
        (!is_found).then(|| Fault {
            file: self.definition.origin.clone(),
            line: None,
            table: self.definition.name.clone(),
            message: "no event is looked up in this table: `AssociatedLogTypes` names no selector, and the primary key is no \
                      indicator"
                .into(),
            is_warning: true,
        })
    }
}

fn stamp_of<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Stamp {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn whole_file(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    // Whoever opens a pipe waits for its other end.
    if !path.metadata().map_err(|error| format!("could not be read: {error}"))?.is_file() {
        return Err("is no file".into());
    }
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("could not be read: {error}"))?;
    if bytes.len() > most {
        return Err(format!(
            "has more than {} MiB; raise `rules.max_table_mib`, or split the table",
            most / 1024 / 1024
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
