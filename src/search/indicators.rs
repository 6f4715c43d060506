//! Indicator search: values pasted from anywhere, each looked for in the `p_any_*` columns that it may stand in. Pure: it
//! makes the queries, which [`super::Search`] runs.

use time::OffsetDateTime;

use super::SearchError;
use super::variant::IN_BLOCK;
use crate::logtype::IndicatorKind;
use crate::model::rfc3339;

/// More are no search by hand.
const MOST: usize = 500;

/// By these a value may say what it is: `user:root`.
const PREFIXES: [(&str, &[IndicatorKind]); 15] = [
    ("ip:", &[IndicatorKind::IpAddress]),
    ("domain:", &[IndicatorKind::DomainName]),
    ("email:", &[IndicatorKind::Email]),
    ("user:", &[IndicatorKind::Username]),
    ("actor:", &[IndicatorKind::ActorId]),
    ("mac:", &[IndicatorKind::MacAddress]),
    ("serial:", &[IndicatorKind::SerialNumber]),
    ("trace:", &[IndicatorKind::TraceId]),
    ("md5:", &[IndicatorKind::Md5]),
    ("sha1:", &[IndicatorKind::Sha1]),
    ("sha256:", &[IndicatorKind::Sha256]),
    ("account:", &[IndicatorKind::AwsAccountId]),
    ("instance:", &[IndicatorKind::AwsInstanceId]),
    ("arn:aws", &[IndicatorKind::AwsArn]),
    ("tag:", &[IndicatorKind::AwsTag]),
];

/// A value, and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicator {
    pub value: String,
    pub kinds: Vec<IndicatorKind>,
}

/// Values between spaces, commas and line ends; quotes hold one together. Defanged ones (`hxxp`, `[.]`) are restored.
pub fn read(text: &str) -> Result<Vec<Indicator>, SearchError> {
    let values = split(text);
    match values.len() {
        0 => Err(SearchError::new("there is no value to look for")),
        1..=MOST => values.iter().map(|value| indicator(value)).collect(),
        n => Err(SearchError::new(format!("{n} values are more than the {MOST} that are looked for at once"))),
    }
}

fn split(text: &str) -> Vec<String> {
    let (mut values, mut value, mut is_quoted) = (Vec::new(), String::new(), false);
    for character in text.chars() {
        match character {
            '"' => is_quoted = !is_quoted,
            _ if !is_quoted && (character == ',' || character.is_whitespace()) => {
                values.extend((!value.is_empty()).then(|| std::mem::take(&mut value)));
            }
            _ => value.push(character),
        }
    }
    values.extend((!value.is_empty()).then_some(value));
    values
}

fn indicator(value: &str) -> Result<Indicator, SearchError> {
    let value = value.replace("[.]", ".").replace("[:]", ":").replace("[@]", "@");
    let value = value.strip_prefix("hxxp").map_or(value.clone(), |rest| format!("http{rest}"));
    for (prefix, kinds) in PREFIXES {
        if let Some(rest) = value.strip_prefix(prefix) {
            let value = if prefix == "arn:aws" { value.clone() } else { rest.to_owned() };
            return Ok(Indicator { value: spelled(kinds, value), kinds: kinds.to_vec() });
        }
    }
    let (kinds, value) = kinds(&value)?;
    Ok(Indicator { value: spelled(&kinds, value), kinds })
}

fn kinds(value: &str) -> Result<(Vec<IndicatorKind>, String), SearchError> {
    use IndicatorKind::{
        ActorId, AwsAccountId, AwsArn, AwsInstanceId, AwsTag, DomainName, Email, IpAddress, Md5, SerialNumber, Sha1,
        Sha256, TraceId, Username,
    };
    if let Some((_, rest)) = value.split_once("://") {
        let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let host = host.rsplit('@').next().unwrap_or(host);
        let host = host.split(':').next().unwrap_or(host);
        let kind = if host.parse::<std::net::IpAddr>().is_ok() { IpAddress } else { DomainName };
        return Ok((vec![kind], host.to_owned()));
    }
    if let Ok(block) = value.parse::<ipnet::IpNet>() {
        return Ok((vec![IpAddress], block.trunc().to_string()));
    }
    let is_hex = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let kinds = match value.len() {
        _ if value.parse::<std::net::IpAddr>().is_ok() => vec![IpAddress],
        32 if is_hex => vec![Md5, TraceId],
        40 if is_hex => vec![Sha1],
        64 if is_hex => vec![Sha256],
        12 if value.bytes().all(|byte| byte.is_ascii_digit()) => vec![AwsAccountId],
        _ if value.starts_with("arn:") => vec![AwsArn],
        _ if value.starts_with("i-") => vec![AwsInstanceId, Username, DomainName],
        _ if value.contains('@') => vec![Email, Username],
        _ if value.contains(':') => vec![AwsTag],
        _ if value.contains('.') => vec![DomainName, Username],
        _ => vec![Username, TraceId, ActorId, SerialNumber, DomainName],
    };
    Ok((kinds, value.to_owned()))
}

/// Hashes are stored in small letters.
fn spelled(kinds: &[IndicatorKind], value: String) -> String {
    let is_hash = kinds.iter().all(|kind| {
        matches!(kind, IndicatorKind::Md5 | IndicatorKind::Sha1 | IndicatorKind::Sha256 | IndicatorKind::TraceId)
    });
    if is_hash { value.to_lowercase() } else { value }
}

/// Hits in every log table from `since` to `until`, by hour.
pub fn hits(indicators: &[Indicator], since: OffsetDateTime, until: OffsetDateTime) -> String {
    format!(
        "SELECT p_db_name AS namespace, p_table_name AS table_name, date_trunc('hour', p_event_time) AS hour, \
         count(*) AS hits, min(p_event_time) AS first_seen, max(p_event_time) AS last_seen \
         FROM all_logs WHERE {} GROUP BY 1, 2, 3 ORDER BY 3 DESC, 4 DESC",
        condition(indicators, since, until)
    )
}

/// The events of one table behind hits, newest first.
pub fn events(table: &str, indicators: &[Indicator], since: OffsetDateTime, until: OffsetDateTime) -> String {
    let condition = condition(indicators, since, until);
    format!("SELECT * FROM {table} WHERE {condition} ORDER BY p_event_time DESC")
}

fn condition(indicators: &[Indicator], since: OffsetDateTime, until: OffsetDateTime) -> String {
    let has = indicators.iter().flat_map(|Indicator { value, kinds }| {
        // A block of addresses is no value that a list can have.
        let function = if value.parse::<ipnet::IpNet>().is_ok() { IN_BLOCK } else { "array_has" };
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        kinds.iter().map(move |kind| format!("{function}({}, '{value}')", kind.field()))
    });
    let has = any_of(&has.collect::<Vec<_>>());
    format!("p_occurs_between('{}', '{}') AND ({has})", rfc3339(since), rfc3339(until))
}

/// In pairs of pairs, so that thousands of them nest no deeper than a dozen.
fn any_of(conditions: &[String]) -> String {
    match conditions {
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} OR {})", any_of(left), any_of(right))
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn values_say_what_they_may_be() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1 p_any_ip_addresses"),
            ("2001:db8::1", "2001:db8::1 p_any_ip_addresses"),
            ("10.0.0.7/8", "10.0.0.0/8 p_any_ip_addresses"),
            ("evil[.]com", "evil.com p_any_domain_names p_any_usernames"),
            ("hxxps://evil[.]com:8080/path?q", "evil.com p_any_domain_names"),
            ("http://u@10.0.0.1/", "10.0.0.1 p_any_ip_addresses"),
            ("A@b.c", "A@b.c p_any_emails p_any_usernames"),
            ("123456789012", "123456789012 p_any_aws_account_ids"),
            ("arn:aws:iam::1:root", "arn:aws:iam::1:root p_any_aws_arns"),
            ("user:root", "root p_any_usernames"),
            ("team:red", "team:red p_any_aws_tags"),
            ("D41D8CD98F00B204E9800998ECF8427E", "d41d8cd98f00b204e9800998ecf8427e p_any_md5_hashes p_any_trace_ids"),
            (
                "\"two words\"",
                "two words p_any_usernames p_any_trace_ids p_any_actor_ids p_any_serial_numbers p_any_domain_names",
            ),
        ] {
            let found = read(text).unwrap();
            let [Indicator { value, kinds }] = &found[..] else { panic!("{text} is one value") };
            let fields: Vec<&str> = kinds.iter().map(|kind| kind.field()).collect();
            assert_eq!(format!("{value} {}", fields.join(" ")), expected);
        }
        assert_eq!(read("a, b\nc").unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_looked_for_is_told() {
        assert!(read(" ,").is_err());
        assert!(read(&"x ".repeat(501)).is_err());
    }

    #[test]
    fn values_are_quoted() {
        let at = datetime!(2026-01-01 00:00 UTC);
        let query = events("t", &read("user:o'brien").unwrap(), at, at);
        assert!(query.contains("array_has(p_any_usernames, 'o''brien')"), "{query}");
        let query = events("t", &read(r"user:corp\ana 10.0.0.0/8").unwrap(), at, at);
        assert!(query.contains(r"array_has(p_any_usernames, 'corp\\ana')"), "{query}");
        assert!(query.contains("margay_in_block(p_any_ip_addresses, '10.0.0.0/8')"), "{query}");
    }
}
