//! Addresses and networks as conditions compare them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address, or a network as `10.0.0.0/8`; an address is the network of itself alone. What an IPv6 address maps of
/// IPv4 is that IPv4 address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())),
    }
}

pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether the registries of special addresses keep it from the internet.
pub(in crate::detect) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_special_v4(address) && !is_shared(address),
        IpAddr::V6(address) => is_special_v6(address),
    }
}

/// Whether it is reachable over the internet. Shared space (100.64.0.0/10) is neither public nor private.
pub(in crate::detect) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !is_special_v4(address),
        IpAddr::V6(address) => !is_special_v6(address),
    }
}

fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && b & 0xc0 == 64
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
fn is_special_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    a == 0
        || address.is_private()
        || is_shared(address)
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a, b) == (198, 18)
        || (a, b) == (198, 19)
        // Port control and anycast for translation, 192.0.0.9 and .10, are global.
        || ((a, b, c) == (192, 0, 0) && d != 9 && d != 10)
        || a >= 240
}

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
fn is_special_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, ..] = address.segments();
    let is_protocol_assignment = a == 0x2001 && b < 0x200;
    // Anycast, AMT, AS112, ORCHIDv2 and drone identification of that block are global.
    let is_global_assignment = address == Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 1)
        || address == Ipv6Addr::new(0x2001, 1, 0, 0, 0, 0, 0, 2)
        || b == 3
        || (b, c) == (4, 0x112)
        || (0x20..0x40).contains(&b);
    address.is_unspecified()
        || address.is_loopback()
        || (a, b, c) == (0x64, 0xff9b, 1)
        || (a, b, c, d) == (0x100, 0, 0, 0)
        || (is_protocol_assignment && !is_global_assignment)
        || (a, b) == (0x2001, 0xdb8)
        || a == 0x2002
        || a == 0x3fff && b < 0x1000
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_overlap_in_either_direction() {
        let network = |text| network(text).unwrap();
        assert!(overlap(&network("10.1.2.3"), &network("10.0.0.0/8")));
        assert!(overlap(&network("10.0.0.0/8"), &network("10.1.0.0/16")));
        assert!(overlap(&network("::ffff:10.1.2.3"), &network("10.0.0.0/8")));
        assert!(!overlap(&network("11.0.0.0"), &network("10.0.0.0/8")));
        assert!(!overlap(&network("2001:db8::1"), &network("10.0.0.0/8")));
        for text in ["10.0.0", "10.0.0.0/33", "example.com", ""] {
            assert_eq!(super::network(text), None, "{text}");
        }
    }

    #[test]
    fn special_addresses_are_not_public() {
        let private = [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "192.0.2.1",
            "198.19.0.1",
            "192.0.0.8",
            "240.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ];
        for text in private {
            let address = address(text).unwrap();
            assert!(is_private(address) && !is_public(address), "{text}");
        }
        for text in ["8.8.8.8", "172.32.0.1", "192.0.0.9", "2606:4700::1111", "::ffff:8.8.8.8"] {
            let address = address(text).unwrap();
            assert!(is_public(address) && !is_private(address), "{text}");
        }
        let shared = address("100.64.0.1").unwrap();
        assert!(!is_public(shared) && !is_private(shared));
    }
}
