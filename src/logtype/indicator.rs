//! Indicators: the values of an event that investigations search for, collected per kind into `p_any_*`.
//!
//! A scanner looks at one text. What it does not recognise is not an indicator; nothing here ever fails an event.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

use super::aws;
use crate::model::{Key, Leaf, Seen, Span, View, Writer};

/// What an indicator is. The order is that of the `p_any_*` fields of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    IpAddress,
    DomainName,
    Email,
    Username,
    ActorId,
    MacAddress,
    SerialNumber,
    TraceId,
    Md5,
    Sha1,
    Sha256,
    AwsAccountId,
    AwsInstanceId,
    AwsArn,
    AwsTag,
}

impl Kind {
    pub const ALL: [Kind; 15] = [
        Kind::IpAddress,
        Kind::DomainName,
        Kind::Email,
        Kind::Username,
        Kind::ActorId,
        Kind::MacAddress,
        Kind::SerialNumber,
        Kind::TraceId,
        Kind::Md5,
        Kind::Sha1,
        Kind::Sha256,
        Kind::AwsAccountId,
        Kind::AwsInstanceId,
        Kind::AwsArn,
        Kind::AwsTag,
    ];

    pub fn field(self) -> &'static str {
        match self {
            Kind::IpAddress => "p_any_ip_addresses",
            Kind::DomainName => "p_any_domain_names",
            Kind::Email => "p_any_emails",
            Kind::Username => "p_any_usernames",
            Kind::ActorId => "p_any_actor_ids",
            Kind::MacAddress => "p_any_mac_addresses",
            Kind::SerialNumber => "p_any_serial_numbers",
            Kind::TraceId => "p_any_trace_ids",
            Kind::Md5 => "p_any_md5_hashes",
            Kind::Sha1 => "p_any_sha1_hashes",
            Kind::Sha256 => "p_any_sha256_hashes",
            Kind::AwsAccountId => "p_any_aws_account_ids",
            Kind::AwsInstanceId => "p_any_aws_instance_ids",
            Kind::AwsArn => "p_any_aws_arns",
            Kind::AwsTag => "p_any_aws_tags",
        }
    }
}

/// How a text is turned into indicators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanner {
    Ip,
    Domain,
    Hostname,
    /// As DNS servers write names: the dot of the root at the end is not what anybody searches for. An addition of
    /// margay's to the published scanners, of which `domain` has to keep that dot.
    Fqdn,
    /// What a DNS server answers: as above, without the names that stand for addresses and the texts that are no names.
    DnsName,
    /// The IPv4 addresses within a message.
    IpText,
    Url,
    NetAddr,
    Email,
    Username,
    TraceId,
    Md5,
    Sha1,
    Sha256,
    AwsArn,
    AwsArnOnly,
    AwsAccountId,
    AwsInstanceId,
    AwsTag,
    ActorId,
    Mac,
    SerialNumber,
}

/// One table for the schema language and its error texts.
const SCANNERS: &[(&str, Scanner)] = &[
    ("ip", Scanner::Ip),
    ("domain", Scanner::Domain),
    ("hostname", Scanner::Hostname),
    ("fqdn", Scanner::Fqdn),
    ("dns_name", Scanner::DnsName),
    ("ip_text", Scanner::IpText),
    ("url", Scanner::Url),
    ("net_addr", Scanner::NetAddr),
    ("email", Scanner::Email),
    ("username", Scanner::Username),
    ("trace_id", Scanner::TraceId),
    ("md5", Scanner::Md5),
    ("sha1", Scanner::Sha1),
    ("sha256", Scanner::Sha256),
    ("aws_arn", Scanner::AwsArn),
    ("aws_arn_only", Scanner::AwsArnOnly),
    ("aws_account_id", Scanner::AwsAccountId),
    ("aws_instance_id", Scanner::AwsInstanceId),
    ("aws_tag", Scanner::AwsTag),
    ("actor_id", Scanner::ActorId),
    ("mac", Scanner::Mac),
    ("serial_number", Scanner::SerialNumber),
];

impl Scanner {
    pub(super) fn by_name(name: &str) -> Option<Scanner> {
        SCANNERS.iter().find(|(known, _)| *known == name).map(|(_, scanner)| *scanner)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        SCANNERS.iter().map(|(name, _)| *name)
    }
}

/// The indicators of one event, which is still being written: most are a piece of its text.
#[derive(Default)]
pub(super) struct Indicators {
    found: Vec<Found>,
}

struct Found {
    kind: Kind,
    /// The first eight bytes, as the number that sorts like them. It settles most comparisons.
    start: u64,
    text: FoundText,
}

enum FoundText {
    Here(Span),
    Made(Box<str>),
}

/// Room for more is given back.
const ROOM: usize = 1 << 10;

impl Found {
    fn text<'f>(&'f self, out: &'f Writer<'_>) -> &'f str {
        match &self.text {
            FoundText::Here(span) => out.text(*span),
            FoundText::Made(text) => text,
        }
    }

    fn order(&self, other: &Found, out: &Writer<'_>) -> Ordering {
        let by_start = (self.kind as u8, self.start).cmp(&(other.kind as u8, other.start));
        by_start.then_with(|| self.text(out).cmp(other.text(out)))
    }
}

fn start(text: &str) -> u64 {
    let mut start = [0; 8];
    let len = text.len().min(8);
    start[..len].copy_from_slice(&text.as_bytes()[..len]);
    u64::from_be_bytes(start)
}

impl Indicators {
    /// Makes room for those of another event.
    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.found.shrink_to(ROOM);
    }

    pub(super) fn add(&mut self, kind: Kind, value: &str, out: &Writer<'_>) {
        let text = out.find(value).map_or_else(|| FoundText::Made(value.into()), FoundText::Here);
        self.found.push(Found { kind, start: start(value), text });
    }

    pub(super) fn scan(&mut self, scanner: Scanner, text: &str, out: &Writer<'_>) {
        if scanner == Scanner::AwsTag {
            if !text.is_empty() {
                self.add(Kind::AwsTag, text, out);
            }
            return;
        }
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return;
        }
        match scanner {
            Scanner::Ip => self.ip(trimmed, out),
            Scanner::Domain | Scanner::Hostname => self.host(trimmed, out),
            Scanner::Fqdn => self.host(trimmed.strip_suffix('.').unwrap_or(trimmed), out),
            Scanner::DnsName => self.dns_name(trimmed, out),
            Scanner::IpText => self.ip_text(trimmed, out),
            Scanner::Url => self.host(url_host(trimmed).unwrap_or_default(), out),
            Scanner::NetAddr => self.host(net_addr_host(trimmed), out),
            Scanner::Email if trimmed.contains('@') => self.add(Kind::Email, trimmed, out),
            Scanner::Email => {}
            Scanner::Username => self.add(Kind::Username, trimmed, out),
            Scanner::TraceId => self.add(Kind::TraceId, trimmed, out),
            Scanner::ActorId => self.add(Kind::ActorId, trimmed, out),
            Scanner::SerialNumber => self.add(Kind::SerialNumber, trimmed, out),
            Scanner::Mac => self.mac(trimmed, out),
            Scanner::Md5 => self.hash(Kind::Md5, 32, trimmed, out),
            Scanner::Sha1 => self.hash(Kind::Sha1, 40, trimmed, out),
            Scanner::Sha256 => self.hash(Kind::Sha256, 64, trimmed, out),
            Scanner::AwsArn => aws::arn(trimmed, self, out),
            Scanner::AwsArnOnly => aws::arn_only(trimmed, self, out),
            Scanner::AwsAccountId => aws::account_id(trimmed, self, out),
            Scanner::AwsInstanceId => aws::instance_id(trimmed, self, out),
            Scanner::AwsTag => unreachable!("handled above, because tags are not trimmed"),
        }
    }

    pub(super) fn ip(&mut self, text: &str, out: &Writer<'_>) {
        if is_ip(text) {
            self.add(Kind::IpAddress, text, out);
        }
    }

    fn ip_text(&mut self, text: &str, out: &Writer<'_>) {
        let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
        for word in words.filter(|word| word.len() >= "0.0.0.0".len()) {
            self.ip(word.trim_matches('.'), out);
        }
    }

    fn dns_name(&mut self, text: &str, out: &Writer<'_>) {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = is_ip(name) || name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*'));
        if is_name && !name.ends_with(".arpa") {
            self.host(name, out);
        }
    }

    /// The columns of osquery's tables that hold addresses and names of hosts.
    pub(super) fn osquery_columns(&mut self, columns: Seen<'_>, out: &Writer<'_>) {
        let View::Map(columns) = columns.view() else { return };
        columns.for_each(|column| {
            let View::Str(text) = column.view() else { return };
            match column.key() {
                "local_address" | "remote_address" | "address" | "host_ip" | "ipv4_address" => {
                    self.ip(text.trim(), out)
                }
                "host" => self.host(text.trim(), out),
                _ => {}
            }
        });
    }

    /// A name or an address, each to its own field.
    pub(super) fn host(&mut self, text: &str, out: &Writer<'_>) {
        if text.is_empty() {
        } else if is_ip(text) {
            self.add(Kind::IpAddress, text, out);
        } else {
            self.add(Kind::DomainName, &from_punycode(text), out);
        }
    }

    fn hash(&mut self, kind: Kind, digits: usize, text: &str, out: &Writer<'_>) {
        if text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.lowercase(kind, text, out);
        }
    }

    fn mac(&mut self, text: &str, out: &Writer<'_>) {
        let bytes = text.as_bytes();
        let every = |size: usize, separator: u8| {
            bytes.chunks(size + 1).all(|group| {
                group[..size.min(group.len())].iter().all(u8::is_ascii_hexdigit)
                    && group.get(size).is_none_or(|&byte| byte == separator)
            })
        };
        let pairs = bytes.len() == 17 && (every(2, b':') || every(2, b'-'));
        if pairs || (bytes.len() == 14 && every(4, b'.')) {
            self.lowercase(Kind::MacAddress, text, out);
        }
    }

    fn lowercase(&mut self, kind: Kind, text: &str, out: &Writer<'_>) {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.add(kind, &text.to_ascii_lowercase(), out);
        } else {
            self.add(kind, text, out);
        }
    }

    /// Writes the kinds that were found, each sorted by bytes and without duplicates. Returns how many.
    pub(super) fn put(&mut self, out: &mut Writer<'_>) -> usize {
        self.found.sort_unstable_by(|one, other| one.order(other, out));
        self.found.dedup_by(|one, other| one.order(other, out).is_eq());
        let kinds = self.found.chunk_by(|one, other| one.kind == other.kind);
        kinds
            .map(|values| {
                let list = out.begin(values[0].kind.key());
                for value in values {
                    match &value.text {
                        FoundText::Here(span) => out.put(Key::NONE, Leaf::Str(*span)),
                        FoundText::Made(text) => out.put_text(Key::NONE, text),
                    }
                }
                out.end_list(list, values.len());
            })
            .count()
    }
}

/// Most texts are none, and their first byte tells.
fn is_ip(text: &str) -> bool {
    let starts = text.as_bytes().first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':');
    starts && text.parse::<IpAddr>().is_ok()
}

/// A name whose first label is in punycode, decoded; other names as they are.
fn from_punycode(name: &str) -> Cow<'_, str> {
    if !name.starts_with("xn--") {
        return name.into();
    }
    let labels = name.split('.').map(|label| {
        label.strip_prefix("xn--").and_then(idna::punycode::decode_to_string).unwrap_or_else(|| label.to_string())
    });
    labels.collect::<Vec<_>>().join(".").into()
}

/// The host of a URL with an authority; `None` when there is none or the port is no number.
fn url_host(url: &str) -> Option<&str> {
    let scheme = url.find(':').filter(|&colon| {
        let scheme = &url.as_bytes()[..colon];
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
    });
    let rest = scheme.map_or(url, |colon| &url[colon + 1..]).strip_prefix("//")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_port.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host_port.find(':').map_or((host_port, ""), |colon| host_port.split_at(colon)),
    };
    let port_is_valid = port.is_empty() || port.strip_prefix(':')?.bytes().all(|byte| byte.is_ascii_digit());
    (port_is_valid && !host.contains(|c: char| c.is_whitespace() || c.is_control())).then_some(host)
}

/// The host of `host:port` or `[v6]:port`; everything else is a host as it stands.
fn net_addr_host(text: &str) -> &str {
    if let Some((host, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return host;
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logtype::standard::NameTable;
    use crate::model::TapeRoom;

    fn scan(scanner: &str, text: &str) -> String {
        scan_all(scanner, &[text])
    }

    fn scan_all(scanner: &str, texts: &[&str]) -> String {
        let (names, mut room) = (NameTable::new().finish(), TapeRoom::default());
        let mut out = Writer::new(&names, "", &mut room);
        out.begin(Key::NONE);
        let mut indicators = Indicators::default();
        for text in texts {
            indicators.scan(Scanner::by_name(scanner).unwrap(), text, &out);
        }
        let kinds = indicators.put(&mut out);
        out.end_map(0, kinds);
        let found = out.finish();
        let found = found.iter().map(|(name, values)| {
            format!("{}={}", name.trim_start_matches("p_any_"), serde_json::to_string(&values).unwrap())
        });
        found.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn addresses_names_and_what_is_neither() {
        for (scanner, text, expected) in [
            ("ip", " 10.0.0.1\n", r#"ip_addresses=["10.0.0.1"]"#),
            ("ip", "2001:DB8::1", r#"ip_addresses=["2001:DB8::1"]"#),
            ("ip", "010.0.0.1", ""),
            ("ip", "fe80::1%eth0", ""),
            ("ip", "1.2.3.4:80", ""),
            ("domain", "10.0.0.1", r#"ip_addresses=["10.0.0.1"]"#),
            ("domain", "xn--bcher-kva.example", r#"domain_names=["bücher.example"]"#),
            ("hostname", "[::1]", r#"domain_names=["[::1]"]"#),
            ("url", "HTTP://u:p@EXAMPLE.COM:80/x", r#"domain_names=["EXAMPLE.COM"]"#),
            ("url", "http://[2001:db8::1]/", r#"ip_addresses=["2001:db8::1"]"#),
            ("url", "//example.com/x", r#"domain_names=["example.com"]"#),
            ("url", "http://example.com:port/", ""),
            ("url", "http:///nohost", ""),
            ("url", "example.com", ""),
            ("url", "mailto:a@b.c", ""),
            ("net_addr", "[2001:db8::1]:443", r#"ip_addresses=["2001:db8::1"]"#),
            ("net_addr", " h:80 ", r#"domain_names=["h"]"#),
            ("net_addr", "a:b:c", r#"domain_names=["a:b:c"]"#),
            ("mac", "00-1A-2b-3c-4d-5e", r#"mac_addresses=["00-1a-2b-3c-4d-5e"]"#),
            ("mac", "001a.2b3c.4d5e", r#"mac_addresses=["001a.2b3c.4d5e"]"#),
            ("mac", "00:1a:2b:3c:4d", ""),
            ("md5", "D41D8CD98F00B204E9800998ECF8427E", r#"md5_hashes=["d41d8cd98f00b204e9800998ecf8427e"]"#),
            ("sha1", "d41d8cd98f00b204e9800998ecf8427e", ""),
            ("email", "none", ""),
            ("aws_tag", " k:v ", r#"aws_tags=[" k:v "]"#),
        ] {
            assert_eq!(scan(scanner, text), expected, "{scanner} {text:?}");
        }
    }

    #[test]
    fn values_are_sorted_and_unique() {
        assert_eq!(scan_all("username", &["b", "a", "b"]), r#"usernames=["a","b"]"#);
    }
}
