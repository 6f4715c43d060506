//! Straight from the text of a record to its event, in one pass and without raw fields between: the way of most records of
//! JSON. Each value goes to [`Coercion`] as it is read; the members of an object are put into the order of the schema when
//! the object ends.
//!
//! Only records with nothing unusual about them go this way, and whatever is unusual ends it without an answer: a key
//! that is there twice, a value that does not fit its field, a field whose value comes from elsewhere. Then the record is
//! read as any other, which also finds the words for what is wrong. Both ways give the same events; a test holds them to it.

use super::aws;
use super::coerce::{Coercion, Place, free_name};
use super::json::{Form, MAX_DEPTH};
use super::lexer::{Lexer, Parsed, Word};
use super::put::{Distinct, number};
use super::schema::{Kind, Object};
use crate::model::{Key, Leaf};

/// Room for the members of objects that have begun, and for text with escapes.
#[derive(Default)]
pub(super) struct Room {
    members: Vec<Member>,
    made: String,
}

/// The nodes of a member that was written.
#[derive(Clone, Copy)]
struct Member {
    /// Its place among the members: that of its field, or behind all fields.
    rank: usize,
    from: usize,
    to: usize,
}

/// Room for more is given back.
const ROOM: usize = 1 << 12;

/// A record that begins with so many fields that its schema does not know is of another log type most likely.
const STRANGERS: usize = 3;

/// What ends this way. The other one says why.
struct Unusual;

type Read<T> = Result<T, Unusual>;

struct Direct<'c, 's, 'd> {
    lexer: Lexer<'d>,
    to: &'c mut Coercion<'s, 'd>,
    room: &'c mut Room,
    depth: usize,
    /// A member of the record that makes it unusual.
    unless: Option<&'static str>,
}

/// Begins the event with the fields of the record. Returns how many there are, and how many bytes that are no white space
/// follow the record; `None` if it must be read the other way.
pub(super) fn record<'s: 'd, 'd>(
    to: &mut Coercion<'s, 'd>,
    room: &mut Room,
    text: &'d str,
    unless: Option<&'static str>,
) -> Option<(usize, usize)> {
    room.members.clear();
    room.members.shrink_to(ROOM);
    room.made.shrink_to(ROOM);
    let mut lexer = Lexer::new(text);
    let schema = to.schema;
    if !schema.is_direct || lexer.token() != Some(b'{') {
        return None;
    }
    lexer.skip();
    to.out.begin(Key::NONE);
    let mut direct = Direct { lexer, to, room, depth: 1, unless };
    let members = direct.object(&schema.fields, true).ok()?;
    Some((members, direct.lexer.left()))
}

impl<'s: 'd, 'd> Direct<'_, 's, 'd> {
    /// The members of an object that has begun.
    fn object(&mut self, object: &'s Object, top: bool) -> Read<usize> {
        let (base, begun) = (self.room.members.len(), self.to.out.place());
        let (mut seen, mut written) = (Bits::default(), Bits::default());
        let (mut names, mut unknown) = (Distinct::default(), object.fields.len());
        let mut goes_on = !self.lexer.ends(b'}');
        while goes_on {
            let from = self.to.out.place();
            let key = self.key()?;
            let rank = match object.position(key) {
                Some(at) => {
                    if !seen.insert(at) {
                        return Err(Unusual);
                    }
                    let field = &object.fields[at];
                    if self.value(&field.kind, Place { key: field.stored, field })? {
                        written.insert(at);
                    }
                    // An empty array is as good as a value, and left out.
                    if matches!(field.kind, Kind::Array { .. }) && self.to.out.place() == from + 1 {
                        self.to.out.undo(from);
                    }
                    at
                }
                None => {
                    self.unknown(key, object, top, &mut names)?;
                    unknown += 1;
                    let strangers = unknown - object.fields.len();
                    if top && strangers == STRANGERS && seen.is_empty() && !object.required.is_empty() {
                        return Err(Unusual);
                    }
                    unknown
                }
            };
            let to = self.to.out.place();
            if to > from {
                self.room.members.push(Member { rank, from, to });
            }
            goes_on = usual(self.lexer.goes_on(b'}'))?;
        }
        if !self.to.may_lack_required() && !object.required.iter().all(|at| written.has(*at)) {
            return Err(Unusual);
        }
        Ok(self.ordered(base, begun))
    }

    /// Puts the members of an object that ends, those since `base`, into order.
    fn ordered(&mut self, base: usize, begun: usize) -> usize {
        let members = &mut self.room.members[base..];
        let count = members.len();
        if !members.is_sorted_by_key(|member| member.rank) {
            members.sort_unstable_by_key(|member| member.rank);
            self.to.out.reorder(begun, members.iter().map(|member| member.from..member.to));
        }
        self.room.members.truncate(base);
        count
    }

    /// A key, as it stands in the record; one with an escape is unusual.
    fn key(&mut self) -> Read<&'d str> {
        self.room.made.clear();
        let key = usual(self.lexer.key(&mut self.room.made))?;
        if self.room.made.is_empty() { Ok(key.read(self.lexer.text(), "")) } else { Err(Unusual) }
    }

    fn unknown(&mut self, key: &str, object: &'s Object, top: bool, names: &mut Distinct) -> Read<()> {
        if object.renamed_to(key).is_some() || (top && self.unless == Some(key)) {
            return Err(Unusual);
        }
        let from = self.to.out.place();
        if !self.to.keep_unknown {
            self.raw(Key::NONE, None)?;
            self.to.out.undo(from);
            return Ok(());
        }
        let kind = kind_of(self.lexer.token());
        if let Some(discovery) = &mut self.to.discovery {
            discovery.see(object, key, kind);
        }
        let name = free_name(key, top, object);
        if !names.is_new(&name) {
            return Err(Unusual);
        }
        let key = self.to.out.key(&name);
        self.raw(key, None)
    }

    /// A value of a field, typed. Whether there was one.
    fn value(&mut self, kind: &'s Kind, place: Place<'s>) -> Read<bool> {
        match (self.lexer.token(), kind) {
            (Some(b'{'), Kind::Object { object, .. }) => self.nested(object, place),
            (Some(b'['), Kind::Array { element, .. }) => self.array(element, place),
            (Some(b'{' | b'['), Kind::Json(json)) => {
                self.raw(place.key, json.aws.then_some(&*place.field.name))?;
                Ok(true)
            }
            (Some(b'{' | b'['), _) => Err(Unusual),
            (token, _) => {
                self.room.made.clear();
                let form = scalar(&mut self.lexer, &mut self.room.made, token)?;
                self.to.value(kind, form, place).map_err(|_| Unusual)
            }
        }
    }

    fn nested(&mut self, object: &'s Object, place: Place<'s>) -> Read<bool> {
        self.enter()?;
        let before = self.to.discovery.as_ref().map(|discovery| discovery.mark());
        let map = self.to.out.begin(place.key);
        let members = self.object(object, false)?;
        self.to.out.end_map(map, members);
        if let (Some(discovery), Some(before)) = (&mut self.to.discovery, before) {
            discovery.within(before, &place.field.name);
        }
        self.depth -= 1;
        Ok(true)
    }

    fn array(&mut self, element: &'s Kind, place: Place<'s>) -> Read<bool> {
        self.enter()?;
        let outer = std::mem::replace(&mut self.to.in_array, true);
        let list = self.to.out.begin(place.key);
        let place = Place { key: Key::NONE, ..place };
        let mut length = 0;
        let mut goes_on = !self.lexer.ends(b']');
        while goes_on {
            if !self.value(element, place)? {
                self.to.out.put(Key::NONE, Leaf::Null);
            }
            length += 1;
            goes_on = usual(self.lexer.goes_on(b']'))?;
        }
        self.to.out.end_list(list, length);
        self.to.in_array = outer;
        self.depth -= 1;
        Ok(true)
    }

    /// A value as it is. AWS indicators are taken from it if the name is given that it is under.
    fn raw(&mut self, key: Key, under: Option<&str>) -> Read<()> {
        match self.lexer.token() {
            Some(b'{') => self.raw_map(key, under),
            Some(b'[') => self.raw_list(key, under),
            token => {
                self.room.made.clear();
                let out = &mut self.to.out;
                let leaf = match scalar(&mut self.lexer, &mut self.room.made, token)? {
                    Form::Str(text) => Leaf::Str(out.span(text)),
                    Form::Number(text) => number(text, out),
                    Form::Bool(value) => Leaf::Bool(value),
                    Form::Null | Form::List(_) | Form::Map(_) => Leaf::Null,
                };
                out.put(key, leaf);
                if let (Some(name), Leaf::Str(span)) = (under, leaf) {
                    aws::by_key(name, out.text(span), self.to.indicators, out);
                }
                Ok(())
            }
        }
    }

    fn raw_map(&mut self, key: Key, under: Option<&str>) -> Read<()> {
        self.enter()?;
        let map = self.to.out.begin(key);
        // Two members of a tag are one indicator.
        let is_tag = under == Some(aws::TAGS);
        let mut names = Distinct::default();
        let mut members = 0;
        let mut goes_on = !self.lexer.ends(b'}');
        while goes_on {
            let name = self.key()?;
            if !names.is_new(name) {
                return Err(Unusual);
            }
            let key = self.to.out.key(name);
            self.raw(key, under.filter(|_| !is_tag).map(|_| name))?;
            members += 1;
            goes_on = usual(self.lexer.goes_on(b'}'))?;
        }
        self.to.out.end_map(map, members);
        if is_tag {
            aws::walk(aws::TAGS, self.to.out.seen(map), self.to.indicators, &self.to.out);
        }
        self.depth -= 1;
        Ok(())
    }

    fn raw_list(&mut self, key: Key, under: Option<&str>) -> Read<()> {
        self.enter()?;
        let list = self.to.out.begin(key);
        let mut length = 0;
        let mut goes_on = !self.lexer.ends(b']');
        while goes_on {
            self.raw(Key::NONE, under)?;
            length += 1;
            goes_on = usual(self.lexer.goes_on(b']'))?;
        }
        self.to.out.end_list(list, length);
        self.depth -= 1;
        Ok(())
    }

    /// Goes into a container at its bracket.
    fn enter(&mut self) -> Read<()> {
        if self.depth == MAX_DEPTH {
            return Err(Unusual);
        }
        self.depth += 1;
        self.lexer.skip();
        Ok(())
    }
}

fn usual<T>(parsed: Parsed<T>) -> Read<T> {
    parsed.map_err(|_| Unusual)
}

/// A value that is no container; its token was looked at.
#[inline]
fn scalar<'t, 'd: 't>(lexer: &mut Lexer<'d>, made: &'t mut String, token: Option<u8>) -> Read<Form<'t>> {
    match token {
        Some(b'"') => {
            let text = usual(lexer.string(made))?;
            Ok(Form::Str(text.read(lexer.text(), made)))
        }
        Some(b'-' | b'0'..=b'9') => Ok(Form::Number(usual(lexer.number())?.read(lexer.text(), ""))),
        Some(_) => Ok(match usual(lexer.word())? {
            Word::True => Form::Bool(true),
            Word::False => Form::Bool(false),
            Word::Null => Form::Null,
        }),
        None => Err(Unusual),
    }
}

/// What [`Form::kind`] says of the value that begins with a token.
fn kind_of(token: Option<u8>) -> &'static str {
    match token {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A set of fields of an object.
#[derive(Default)]
struct Bits([u64; MOST_FIELDS / 64]);

/// Objects with more fields are unusual.
pub(super) const MOST_FIELDS: usize = 256;

impl Bits {
    /// Whether it was not there.
    fn insert(&mut self, at: usize) -> bool {
        let before = self.0[at / 64];
        self.0[at / 64] |= 1 << (at % 64);
        before != self.0[at / 64]
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }
}

#[cfg(test)]
pub(super) mod tests {
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;
    use crate::logtype::coerce;
    use crate::logtype::discovery::Discovery;
    use crate::logtype::json;
    use crate::logtype::parser::AsIs;
    use crate::logtype::schema::Schema;
    use crate::model::UnknownField;

    const NOW: OffsetDateTime = datetime!(2024-06-01 00:00 UTC);

    /// An event as JSON, its time, and the fields that its schema does not know.
    type Outcome = (String, Option<OffsetDateTime>, Vec<UnknownField>);

    /// What a schema takes from a record, and where.
    struct Subject<'t> {
        schema: &'t Schema,
        keep_unknown: bool,
        text: &'t str,
        room: &'t mut (coerce::Room, Discovery),
    }

    fn outcome<'t>(subject: Subject<'t>, read: impl FnOnce(&mut Coercion<'t, 't>) -> Option<usize>) -> Option<Outcome> {
        let Subject { schema, keep_unknown, text, room: (room, discovery) } = subject;
        let mut coercion = Coercion::new(schema, keep_unknown, NOW, text, room);
        coercion.discovery = Some(discovery);
        let members = read(&mut coercion)?;
        let Coercion { mut out, indicators, event_time, discovery, .. } = coercion;
        let kinds = indicators.put(&mut out);
        out.end_map(0, members + kinds);
        let mut unknown = discovery.map(Discovery::take).unwrap_or_default();
        unknown.sort_by(|one, other| one.path.cmp(&other.path));
        Some((serde_json::to_string(&out.finish()).unwrap(), event_time.map(|time| time.at), unknown))
    }

    /// Whether a record can be read directly, and then it gives the same as when it is not.
    pub(in crate::logtype) fn agrees(schema: &Schema, record: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(record).map(str::trim_ascii) else { return false };
        let unless = match schema.parser.as_is() {
            AsIs::Always => None,
            AsIs::Unless(member) => Some(member),
            AsIs::Never => return false,
        };
        [true, false].into_iter().all(|keep_unknown| {
            let (mut rooms, mut left) = ([(); 2].map(|()| (coerce::Room::default(), Discovery::default())), None);
            let [room, other] = &mut rooms;
            let direct = outcome(Subject { schema, keep_unknown, text, room }, |coercion| {
                let (members, trailing) = super::record(coercion, &mut Room::default(), text, unless)?;
                left = Some(trailing);
                Some(members)
            });
            let Some(direct) = direct else { return false };
            let (doc, trailing) = json::parse(text).unwrap();
            let subject = Subject { schema, keep_unknown, text, room: other };
            let usual = outcome(subject, |coercion| coercion.record(doc.root()).ok());
            assert_eq!((Some(direct), left), (usual, Some(trailing)), "{}: {text}", schema.name);
            true
        })
    }

    const FIELDS: &str = "version: 0\nfields:\n- {name: t, type: timestamp, timeFormat: rfc3339, isEventTime: true}\n\
        - {name: ip, type: string, required: true, indicators: [ip]}\n- {name: list, type: array, element: {type: int}}\n\
        - {name: o, type: object, fields: [{name: b, type: int}, {name: a, type: string}, {name: l, type: array, \
          element: {type: object, fields: [{name: x, type: string, required: true}]}}]}\n\
        - {name: j, type: json, indicators: [aws_json], isEmbeddedJSON: true}\n\
        - {name: new, type: string, rename: {from: old}}";

    fn schema(fields: &str) -> Schema {
        Schema::from_yaml(fields, "test", Some("Custom.Test")).unwrap()
    }

    #[test]
    fn usual_records_are_read_in_one_pass() {
        let schema = schema(FIELDS);
        for record in [
            r#"{"ip":"1.2.3.4"}"#,
            r#" { "o" : { "a" : "x", "b" : 1 , "l":[{},{"x":"y"}, null] } , "ip" : "1.2.3.4" , "t" : "2024-05-01T00:00:00Z" } 7"#,
            r#"{"zz":{"k":[1,{"m":null}],"n":"\u00e9\"x"},"list":[],"ip":"\u0031.2.3.4","aa":1.50,"p_x":true}"#,
            r#"{"ip":5,"j":{"accountId":"123456789012","tags":[{"key":"a","value":"b"}]},"list":[1,null,"3"]}"#,
            r#"{"ip":"x","j":"{\"arn\":\"arn:aws:s3:::b\"}","t":"","o":null,"old":"é"}"#,
            r#"{"ip":"x","o":{"new":1,"a":"q"},"t":"1960-01-01T00:00:00.5+01:00","n":123456789012345678901234567890}"#,
        ] {
            assert!(agrees(&schema, record.as_bytes()), "{record}");
        }
    }

    #[test]
    fn unusual_records_are_not() {
        let plain = schema(FIELDS);
        for record in [
            "{}",
            "[]",
            r#"{"ip":"a","ip":"b"}"#,
            r#"{"ip":"a","o":{"x":1,"x":2}}"#,
            r#"{"ip":"a","o":{"b":1,"b":2}}"#,
            r#"{"ip":"a","j":{"x":1,"x":2}}"#,
            r#"{"ip":"a","list":["x"]}"#,
            r#"{"ip":"a","new":"b"}"#,
            r#"{"ip":"a","\u0061":1}"#,
            r#"{"ip":"a"#,
        ] {
            assert!(!agrees(&plain, record.as_bytes()), "{record}");
        }
        let copies = schema("version: 0\nfields: [{name: a, type: string, copy: {from: b}}]");
        assert!(!agrees(&copies, br#"{"a":"x","b":"y"}"#));
        let times = "[{name: a, type: timestamp, timeFormat: unix, isEventTime: true}, \
                     {name: o, type: object, fields: [{name: b, type: timestamp, timeFormat: unix, isEventTime: true}]}]";
        assert!(!agrees(&schema(&format!("version: 0\nfields: {times}")), br#"{"a":1}"#));
    }
}
