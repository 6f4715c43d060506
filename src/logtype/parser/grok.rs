//! Named patterns in a regular expression: `%{NAME}` and `%{NAME:field}`.
//!
//! The names and meanings are the usual ones of Logstash, written for an engine without look-around.

use std::collections::BTreeMap;

use crate::logtype::schema::suggestion;

const PATTERNS: &[(&str, &str)] = &[
    ("DATA", r".*?"),
    ("GREEDYDATA", r".*"),
    ("NOTSPACE", r"\S+"),
    ("SPACE", r"\s*"),
    ("WORD", r"\b\w+\b"),
    ("QUOTEDSTRING", r#"(?:"(?:\\.|[^\\"])*"|'(?:\\.|[^\\'])*'|`(?:\\.|[^\\`])*`)"#),
    ("HEXDIGIT", r"[0-9a-fA-F]"),
    ("UUID", r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"),
    // Numbers.
    ("INT", r"[+-]?[0-9]+"),
    ("BASE10NUM", r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"),
    ("NUMBER", r"%{BASE10NUM}"),
    ("BASE16NUM", r"[+-]?(?:0x)?[0-9A-Fa-f]+"),
    ("POSINT", r"\b[1-9][0-9]*\b"),
    ("NONNEGINT", r"\b[0-9]+\b"),
    // Network.
    ("CISCOMAC", r"(?:[A-Fa-f0-9]{4}\.){2}[A-Fa-f0-9]{4}"),
    ("WINDOWSMAC", r"(?:[A-Fa-f0-9]{2}-){5}[A-Fa-f0-9]{2}"),
    ("COMMONMAC", r"(?:[A-Fa-f0-9]{2}:){5}[A-Fa-f0-9]{2}"),
    ("MAC", r"(?:%{CISCOMAC}|%{WINDOWSMAC}|%{COMMONMAC})"),
    ("IPV4INT", r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"),
    ("IPV4", r"\b(?:%{IPV4INT}\.){3}%{IPV4INT}\b"),
    (
        "IPV6",
        concat!(
            r"(?:(?:%{H16}:){7}%{H16}",
            r"|(?:%{H16}:){6}%{IPV4}",
            r"|(?:%{H16}:){1,6}(?::%{H16})",
            r"|(?:%{H16}:){1,5}(?::%{H16}){1,2}",
            r"|(?:%{H16}:){1,4}(?::%{H16}){1,3}",
            r"|(?:%{H16}:){1,3}(?::%{H16}){1,4}",
            r"|(?:%{H16}:){1,2}(?::%{H16}){1,5}",
            r"|%{H16}:(?:(?::%{H16}){1,6})",
            r"|(?:%{H16}:){1,5}:%{IPV4}",
            r"|::(?:%{H16}:){0,5}%{IPV4}",
            r"|:(?:(?::%{H16}){1,7})",
            r"|(?:%{H16}:){1,7}:",
            r"|::)(?:%[0-9A-Za-z_.-]+)?",
        ),
    ),
    ("IP", r"(?:%{IPV6}|%{IPV4})"),
    ("HOSTNAME", r"\b[0-9A-Za-z][0-9A-Za-z_-]{0,62}(?:\.[0-9A-Za-z][0-9A-Za-z_-]{0,62})*\.?"),
    ("IPORHOST", r"(?:%{IP}|%{HOSTNAME})"),
    ("HOSTPORT", r"%{IPORHOST}:%{POSINT}"),
    // Users, paths, addresses.
    ("USERNAME", r"[a-zA-Z0-9._-]+"),
    ("UNIXPATH", r"(?:/(?:[\w_%!$@:.,+~-]|\\.)*)+"),
    ("WINPATH", r"(?:[A-Za-z]+:|\\)(?:\\[^\\?*]*)+"),
    ("PATH", r"(?:%{UNIXPATH}|%{WINPATH})"),
    ("TTY", r"/dev/(?:pts|tty(?:[pq])?)\w*/?[0-9]+"),
    ("URIPROTO", r"[A-Za-z]+(?:\+[A-Za-z+]+)?"),
    ("URIHOST", r"%{IPORHOST}(?::%{POSINT})?"),
    ("URIPATH", r"(?:/[A-Za-z0-9$.+!*'(){},~:;=@#%&_-]*)+"),
    ("URIPARAM", r"\?[A-Za-z0-9$.+!*'|(){},~@#%&/=:;_?\[\]<>-]*"),
    ("URIPATHPARAM", r"%{URIPATH}(?:%{URIPARAM})?"),
    ("URI", r"%{URIPROTO}://(?:%{USERNAME}(?::[^@]*)?@)?(?:%{URIHOST})?(?:%{URIPATHPARAM})?"),
    // Dates and times.
    (
        "MONTH",
        concat!(
            r"\b(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|",
            r"Sep(?:tember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b",
        ),
    ),
    ("MONTHNUM", r"(?:0[1-9]|1[0-2]|[1-9])"),
    ("MONTHNUM2", r"(?:0[1-9]|1[0-2])"),
    ("MONTHDAY", r"(?:0[1-9]|[12][0-9]|3[01]|[1-9])"),
    ("DAY", r"(?:Mon(?:day)?|Tue(?:sday)?|Wed(?:nesday)?|Thu(?:rsday)?|Fri(?:day)?|Sat(?:urday)?|Sun(?:day)?)"),
    ("YEAR", r"(?:[0-9]{4}|[0-9]{2})"),
    ("HOUR", r"(?:2[0-3]|[01]?[0-9])"),
    ("MINUTE", r"[0-5][0-9]"),
    ("SECOND", r"(?:60|[0-5]?[0-9])(?:[:.,][0-9]+)?"),
    ("KITCHEN", r"%{HOUR}:%{MINUTE} ?(?:AM|PM|am|pm)"),
    ("TIME", r"%{HOUR}:%{MINUTE}(?::%{SECOND})"),
    ("DATE_US", r"%{MONTHNUM}[/-]%{MONTHDAY}[/-]%{YEAR}"),
    ("DATE_EU", r"%{MONTHDAY}[./-]%{MONTHNUM}[./-]%{YEAR}"),
    ("ISO8601_TIMEZONE", r"(?:Z|[+-]%{HOUR}(?::?%{MINUTE}))"),
    ("ISO8601_SECOND", r"%{SECOND}"),
    ("TIMESTAMP_ISO8601", r"%{YEAR}-%{MONTHNUM}-%{MONTHDAY}[T ]%{HOUR}:?%{MINUTE}(?::?%{SECOND})?%{ISO8601_TIMEZONE}?"),
    ("DATE", r"(?:%{DATE_US}|%{DATE_EU})"),
    ("DATETIME", r"%{DATE}[- ]%{TIME}"),
    ("TZ", r"(?:[APMCE][SD]T|UTC|GMT)"),
    ("TZOFFSET", r"[+-]%{HOUR}:?%{MINUTE}"),
    ("TIMESTAMP_RFC822", r"%{DAY} %{MONTH} %{MONTHDAY} %{YEAR} %{TIME} %{TZ}"),
    ("TIMESTAMP_RFC2822", r"%{DAY}, %{MONTHDAY} %{MONTH} %{YEAR} %{TIME} %{ISO8601_TIMEZONE}"),
    ("TIMESTAMP_OTHER", r"%{DAY} %{MONTH} %{MONTHDAY} %{TIME} %{TZ} %{YEAR}"),
    ("TIMESTAMP_EVENTLOG", r"%{YEAR}%{MONTHNUM2}%{MONTHDAY}%{HOUR}%{MINUTE}%{SECOND}"),
    ("SYSLOGTIMESTAMP", r"%{MONTH} +%{MONTHDAY} %{TIME}"),
    ("HTTPDATE", r"%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}"),
    // Other names for the same.
    ("NS", r"%{NOTSPACE}"),
    ("QS", r"%{QUOTEDSTRING}"),
    ("HOST", r"%{HOSTNAME}"),
    ("PID", r"%{POSINT}"),
    ("USER", r"%{USERNAME}"),
];

/// A part of IPV6 that has no use of its own.
const H16: &str = "[0-9A-Fa-f]{1,4}";

/// Patterns may use patterns; deeper than this they go in a circle.
const MAX_DEPTH: usize = 32;
/// Patterns that use patterns can grow to any size.
const MAX_BYTES: usize = 256 * 1024;

/// Replaces every `%{…}`.
pub(super) fn expand(pattern: &str, definitions: &BTreeMap<String, String>) -> Result<String, String> {
    for name in definitions.keys() {
        let well_formed = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        if !well_formed {
            return Err(format!("the pattern name `{name}` must be upper-case letters, digits and `_`"));
        }
    }
    let mut out = String::new();
    expand_into(&mut out, pattern, definitions, 0)?;
    Ok(out)
}

/// Definitions that hide a built-in pattern.
pub(crate) fn redefined(definitions: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    definitions.keys().map(String::as_str).filter(|name| built_in(name).is_some())
}

fn expand_into(
    out: &mut String,
    pattern: &str,
    definitions: &BTreeMap<String, String>,
    depth: usize,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("pattern definitions refer to each other in a circle".into());
    }
    let mut rest = pattern;
    while let Some(start) = rest.find("%{") {
        out.push_str(&rest[..start]);
        let end = rest[start..].find('}').ok_or("a `%{` has no `}`")?;
        let inner = rest[start + 2..start + end].trim();
        let (name, field) =
            inner.split_once(':').map_or((inner, None), |(name, field)| (name.trim(), Some(field.trim())));
        let definition = definitions.get(name).map(String::as_str).or_else(|| built_in(name)).ok_or_else(|| {
            let known = PATTERNS.iter().map(|(name, _)| *name).chain(definitions.keys().map(String::as_str));
            let hint = suggestion(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("the pattern `{name}` is not defined{hint}")
        })?;
        match field {
            Some(field) => out.push_str(&format!("(?P<{field}>")),
            None => out.push_str("(?:"),
        }
        expand_into(out, definition, definitions, depth + 1)?;
        out.push(')');
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    if out.len() > MAX_BYTES {
        return Err(format!("the pattern grows beyond {} KiB", MAX_BYTES / 1024));
    }
    Ok(())
}

fn built_in(name: &str) -> Option<&'static str> {
    if name == "H16" {
        return Some(H16);
    }
    PATTERNS.iter().find(|(known, _)| *known == name).map(|(_, pattern)| *pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(name: &str, text: &str) -> bool {
        let pattern = expand(&format!("^%{{{name}}}$"), &BTreeMap::new()).unwrap();
        regex::Regex::new(&pattern).unwrap().is_match(text)
    }

    #[test]
    fn every_pattern_compiles_and_names_are_unique() {
        let mut names: Vec<&str> = PATTERNS.iter().map(|(name, _)| *name).collect();
        for name in &names {
            matches(name, "");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PATTERNS.len());
        assert_eq!(names.len(), 67);
    }

    #[test]
    fn patterns_match_what_they_are_named_for() {
        for (name, yes, no) in [
            ("QUOTEDSTRING", r#""a \" b""#, "a"),
            ("HEXDIGIT", "E", "g"),
            ("UUID", "71389917-8eb9-11ea-adf2-ed39f0ba450d", "71389917"),
            ("INT", "+3", "1.5"),
            ("NUMBER", "-1.5", "x"),
            ("BASE16NUM", "0xFF", "0xG"),
            ("POSINT", "5", "0"),
            ("NONNEGINT", "0", "-1"),
            ("MAC", "00-11-22-aa-bb-cc", "00-11"),
            ("IPV4", "255.1.0.9", "256.1.1.1"),
            ("IPV6", "2001:db8::1", "1.2.3.4"),
            ("IPV6", "fe80::1%eth0", "fe80"),
            ("IPV6", "::ffff:1.2.3.4", ":::"),
            ("IPV6", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9"),
            ("HOSTNAME", "web-1.example.com", "-x"),
            ("HOSTPORT", "example.com:80", "example.com"),
            ("UNIXPATH", "/var/log/a.b", "a"),
            ("WINPATH", r"C:\dir\f.txt", "/x"),
            ("TTY", "/dev/pts/1", "/dev/null"),
            ("URI", "https://u:p@example.com:8080/a?b=c", "example"),
            ("MONTH", "Jan", "Foo"),
            ("HOUR", "23", "24"),
            ("SECOND", "59.123", "61"),
            ("YEAR", "2021", "x"),
            ("KITCHEN", "3:04PM", "3:04"),
            ("TIMESTAMP_ISO8601", "2021-01-02T03:04:05.678+02:00", "2021"),
            ("DATETIME", "12/31/2021-12:34:56", "12:34"),
            ("TIMESTAMP_RFC822", "Mon Jan 02 2006 15:04:05 UTC", "Mon, 02 Jan 06 15:04 UTC"),
            ("TIMESTAMP_RFC2822", "Mon, 02 Jan 2006 15:04:05 -0700", "Mon 02 Jan 2006"),
            ("TIMESTAMP_EVENTLOG", "20210601020304", "2021"),
            ("SYSLOGTIMESTAMP", "Jan  2 03:04:05", "Jan 2"),
            ("HTTPDATE", "10/Oct/2000:13:55:36 -0700", "10/Oct/2000"),
        ] {
            assert!(matches(name, yes), "{name} does not match {yes}");
            assert!(!matches(name, no), "{name} matches {no}");
        }
    }

    #[test]
    fn circles_are_refused() {
        let circle = BTreeMap::from([("A".into(), "%{B}".into()), ("B".into(), "%{A}".into())]);
        assert!(expand("%{A}", &circle).unwrap_err().contains("circle"));
        let inner = BTreeMap::from([("WORD".into(), "x%{WORD}".into())]);
        assert!(expand("%{WORD}", &inner).unwrap_err().contains("circle"));
    }

    #[test]
    fn patterns_that_grow_without_end_are_refused() {
        let next = |n: u32| (format!("A{n}"), format!("%{{A{}}}%{{A{}}}", n + 1, n + 1));
        let mut bomb: BTreeMap<String, String> = (0..30).map(next).collect();
        bomb.insert("A30".into(), "x".into());
        assert!(expand("%{A0}", &bomb).unwrap_err().contains("grows beyond"));
    }
}
