//! Logs of Junos WebApp Secure that are pairs of a key and a value, as many as an entry has and in any order.
//! Source: Junos WebApp Secure documentation, "Log format", firewall log and security alerts. Times have no year.

use std::sync::LazyLock;

use regex::Regex;

use super::{Each, Entry, Memory};
use crate::logtype::json::Doc;

/// `time host kernel: IPTABLES what: pairs`
static FIREWALL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^([A-Za-z]+ +[0-9]+ [0-9:]{8}) (\S+) kernel: IPTABLES (\w+):\s*(.+)$")
        .expect("the pattern is constant and a test uses it")
});

/// `time host [level][mws-security-alert][service] MKS_Category="what" pairs`
static ALERT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"^([A-Za-z]+ +[0-9]+ [0-9:]{8}) (\S+) \[([^\]]*)\]\[mws-security-alert\]\[([^\]]*)\] ",
        r#"MKS_Category="([^"]*)" (.*)$"#,
    ))
    .expect("the pattern is constant and a test uses it")
});

/// Keys of an alert, without their `MKS_`, and the columns they fill.
const KEYS: [(&str, &str); 18] = [
    ("ProfileId", "profile_id"),
    ("ProfileName", "profile_name"),
    ("PubKey", "pubkey"),
    ("pubkey", "pubkey"),
    ("Type", "incident"),
    ("Severity", "severity"),
    ("SrcIP", "source_ip"),
    ("useragent", "user_agent"),
    ("url", "url"),
    ("count", "count"),
    ("fakeresponse", "fake_response"),
    ("ResponseCode", "response_code"),
    ("ResponseName", "response_name"),
    ("ResponseCreated", "created_date"),
    ("ResponseDelayed", "delay_date"),
    ("ResponseExpires", "expiration_date"),
    ("ResponseConfig", "response_config"),
    ("SilentRunning", "silent_running"),
];

/// What the kernel says of a packet by a word alone.
const FLAGS: [&str; 3] = ["DF", "SYN", "RST"];

pub(super) fn firewall(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let captures = FIREWALL.captures(entry.text).ok_or("the record is not a line of the firewall")?;
    let (_, [time, host, event, pairs]) = captures.extract();
    let mut fields = Doc::of(entry.text, 20);
    for (name, value) in [("timestamp", time), ("hostname", host), ("event", event)] {
        fields.text(name, value);
    }
    // Behind a bracket stands the packet that an error is about, which whoever sent the error chose.
    for word in pairs.split_ascii_whitespace().take_while(|word| !word.starts_with('[')) {
        match word.split_once('=') {
            // The kernel writes a zero for what a packet does not have.
            Some((_, "" | "0")) => {}
            // Of a key that is there twice, as the length in packets of UDP, the last counts.
            Some((key, value)) => fields.text(key, value),
            None if FLAGS.contains(&word) => fields.text(word, "true"),
            None => {}
        }
    }
    each(fields.root())
}

pub(super) fn alert(entry: &Entry<'_>, _: &mut Memory, each: Each<'_>) -> Result<(), String> {
    let captures = ALERT.captures(entry.text).ok_or("the record is not a security alert")?;
    let (_, [time, host, level, service, category, pairs]) = captures.extract();
    let mut fields = Doc::of(entry.text, 20);
    let head = [time, host, level, service, category];
    for (name, value) in ["timestamp", "hostname", "log_level", "service", "category"].into_iter().zip(head) {
        fields.text(name, value);
    }
    let mut rest = pairs.trim_start();
    while !rest.is_empty() {
        let (key, after) =
            rest.split_once("=\"").ok_or_else(|| format!("`{rest}` is not a key with a quoted value"))?;
        let (value, after) = quoted(after).ok_or_else(|| format!("the value of `{key}` has no closing quote"))?;
        let name = key.strip_prefix("MKS_").ok_or_else(|| format!("the key `{key}` does not begin with MKS_"))?;
        let column = KEYS.iter().find(|(known, _)| *known == name).map_or(key, |(_, column)| *column);
        // A response that does not expire says so.
        let never = column == "expiration_date" && value == "null";
        if !value.is_empty() && !never {
            fields.text(column, value);
        }
        rest = after.trim_start();
    }
    each(fields.root())
}

/// The text up to the closing quote, and what follows it. Escapes stay as they are.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &text.as_bytes()[at..])?;
        if text[at..].starts_with('"') {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 1 + text[at + 1..].chars().next()?.len_utf8();
    }
}
