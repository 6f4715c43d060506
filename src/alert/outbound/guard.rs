//! Which addresses a request may go to. A URL comes from the configuration, and a mistake or an attacker there must not
//! turn margay into a way to the metadata service or into the inner network. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

/// Of the public range, and yet what every machine there has its secrets from.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Ports of a host that is not allowed by name.
const PORTS: [u16; 3] = [443, 8443, 80];

/// What one destination may reach beyond the public internet over HTTPS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    pub allow_http: bool,
    /// Hosts whose addresses are not looked at, in lower case.
    pub allow_hosts: Vec<String>,
    pub allow_cidrs: Vec<Cidr>,
}

impl Policy {
    /// What is wrong with the URL itself; the addresses behind its host are checked when they are known.
    pub fn check_url(&self, url: &Url) -> Result<(), String> {
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err("the URL is not https; `allow_http = true` permits that for this destination".into()),
            other => return Err(format!("a URL with `{other}:` can't be used; write an https URL")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL carries a name or a password; give credentials in their own keys".into());
        }
        let Some(host) = url.host() else { return Err("the URL names no host".into()) };
        let port = url.port_or_known_default().unwrap_or_default();
        if !PORTS.contains(&port) && !self.allows_host(&host.to_string()) {
            return Err(format!(
                "port {port} is none of 443, 8443 and 80; `allow_hosts` with `{host}` permits all ports of that host"
            ));
        }
        match literal(&host) {
            Some(address) => self.check_address(&host.to_string(), address),
            None => Ok(()),
        }
    }

    /// Whether a connection to `address`, which `host` resolved to, may be opened.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), String> {
        let is_allowed = self.allows_host(host) || self.allow_cidrs.iter().any(|cidr| cidr.contains(address));
        match hidden(address) {
            Some(kind) if !is_allowed => Err(format!(
                "`{host}` has the {kind} address {address}; if that is meant, permit it with `allow_hosts` or \
                 `allow_cidrs` of the destination"
            )),
            _ => Ok(()),
        }
    }

    pub fn allows_host(&self, host: &str) -> bool {
        self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// An address that is written as one. The parser of URLs reads decimal, octal and hexadecimal spellings.
pub fn literal(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(*address)),
        Host::Ipv6(address) => Some(IpAddr::V6(*address)),
    }
}

/// Why an address is not one of the public internet.
fn hidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => hidden_v4(address),
        IpAddr::V6(address) => hidden_v6(address),
    }
}

fn hidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    if address == AZURE {
        return Some("metadata");
    }
    match (a, b, c) {
        (0, ..) => Some("unspecified"),
        (127, ..) => Some("loopback"),
        (169, 254, _) => Some("link-local"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private"),
        (100, 64..=127, _) => Some("carrier-grade NAT"),
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => Some("reserved"),
        (224..=239, ..) => Some("multicast"),
        (240.., ..) => Some("reserved"),
        _ => None,
    }
}

fn hidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some(inner) = embedded(address) {
        return hidden_v4(inner);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xfec0..=0xfeff, ..] => Some("site-local"),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("reserved"),
        // Only these are given out for the public internet.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

/// The IPv4 address inside of a mapped, compatible, translated (NAT64), 6to4 or ISATAP address. A network's own NAT64
/// prefix, `64:ff9b:1::/48`, may hold it in other places, and is no address of the public internet.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(v4(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        [.., 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        _ => None,
    }
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

impl Cidr {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let refused = || format!("`{text}` is no range of addresses; write one like `10.1.0.0/16` or `fd00::/8`");
        let (network, bits) = text.split_once('/').ok_or_else(refused)?;
        let network: IpAddr = network.parse().map_err(|_| refused())?;
        let bits: u8 = bits.parse().map_err(|_| refused())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        if bits > most { Err(refused()) } else { Ok(Cidr { network, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cidr, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str, policy: &Policy) -> Option<String> {
        policy.check_url(&Url::parse(url).unwrap()).err()
    }

    #[test]
    fn every_spelling_of_an_inner_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "017700000001",
            "0",
            "0.0.0.0",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fc00::1]",
            "[ff02::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::10.0.0.1]",
            "[2002:7f00:1::]",
            "[::ffff:0:10.0.0.1]",
            "[fec0::1]",
            "127.0.1",
            "0177.1",
            "127.000.000.001",
            "0X7F.0.0.1",
            "127.0.0.1.",
            "127%2e0%2e0%2e1",
            "%31%32%37.0.0.1",
            "１２７.０.０.１",
            "①②⑦.⓪.⓪.①",
            "127。0。0。1",
            "12\t7.0.0.1",
            "good.example@127.0.0.1",
            "127.0.0.1\\@good.example",
            "0.1.2.3",
            "192.0.0.192",
            "100.100.100.200",
            "168.63.129.16",
            "192.88.99.1",
            "240.0.0.1",
            "[::2]",
            "[::10.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1:7f00:0:100:808:808]",
            "[64:ff9b:0:1::808:808]",
            "[2002:a9fe:a9fe::1]",
            "[2001::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[100::1]",
            "[5f00::1]",
            "[4000::1]",
            "[2600:1f18::5efe:10.0.0.1]",
            "[2600:1f18::200:5efe:10.0.0.1]",
        ] {
            let why = refused(&format!("https://{host}/x"), &Policy::default());
            let is_told = |why: &String| why.contains("allow_cidrs") || why.contains("carries a name");
            assert!(why.as_ref().is_some_and(is_told), "{host}: {why:?}");
        }
        for host in [
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "[2606:4700::1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::8.8.8.8]",
            "[2002:808:808::1]",
            "hooks.slack.com",
        ] {
            assert_eq!(refused(&format!("https://{host}/x"), &Policy::default()), None, "{host}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_host_is_none_here_either() {
        for text in [
            "https://[fe80::1%25eth0]/",
            "https://[fe80::1%eth0]/",
            "https://[::1/",
            "https://127.0.0.256/",
            "https:///",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        // Names are judged by what they resolve to, so that none of these finds an exception that was made for another.
        let policy = Policy { allow_hosts: vec!["inner.example".into()], ..Policy::default() };
        for host in ["inner.example.", "inner.example.attacker.example", "xinner.example", "іnner.example"] {
            let url = Url::parse(&format!("https://{host}/")).unwrap();
            let why = policy.check_address(url.host_str().unwrap(), IpAddr::from([10, 0, 0, 1]));
            assert!(why.is_err(), "{host}");
        }
        assert_eq!(policy.check_address("INNER.example", IpAddr::from([10, 0, 0, 1])), Ok(()));
    }

    #[test]
    fn exceptions_are_made_by_name_and_by_range() {
        let policy = Policy {
            allow_hosts: vec!["10.9.9.9".into()],
            allow_cidrs: vec!["10.1.0.0/16".parse().unwrap()],
            ..Policy::default()
        };
        assert_eq!(refused("https://10.1.2.3/x", &policy), None);
        assert_eq!(refused("https://10.9.9.9:9999/x", &policy), None);
        for url in [
            "https://10.2.0.1/",
            "https://10.1.2.3:22/",
            "http://10.1.2.3/",
            "https://u:p@10.1.2.3/",
            "ftp://10.1.2.3/",
        ] {
            assert!(refused(url, &policy).is_some(), "{url}");
        }
        assert_eq!(policy.check_address("inner.example", "::ffff:10.1.0.1".parse().unwrap()), Ok(()));
        assert!(policy.check_address("inner.example", "10.2.0.1".parse().unwrap()).unwrap_err().contains("private"));
    }

    #[test]
    fn a_range_is_read_and_written() {
        for text in ["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "1.2.3.4/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains("9.9.9.9".parse().unwrap()));
        for text in ["10.0.0.0", "10.0.0.0/33", "x/8", "fd00::/129"] {
            assert!(text.parse::<Cidr>().unwrap_err().contains(text), "{text}");
        }
    }
}
