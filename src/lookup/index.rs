//! The primary keys of a table: which row a value finds.
//!
//! Texts are equal or not. Networks find addresses: of those that hold one, the narrowest first. They are nested or apart
//! and never overlap otherwise, so that a sorted list in which each knows the next wider one around it needs no tree: the
//! last network that begins at or before an address is the narrowest that can hold it, and the others are around that one.
//! A network costs 16 bytes, one of IPv6 48; a tree with a node a bit costs several times that.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;
use ipnet::{IpNet, Ipv4Net};

/// The texts, one behind the other, and by their hash.
#[derive(Default)]
pub(super) struct Texts {
    text: String,
    /// Where each text ends, and its row.
    entries: Vec<(u32, u32)>,
    by_hash: HashTable<u32>,
    hasher: RandomState,
}

impl Texts {
    /// Of two that are equal, the later one counts.
    pub(super) fn insert(&mut self, key: &str, row: u32) {
        let hash = self.hasher.hash_one(key);
        if let Some(at) = self.position(hash, key) {
            self.entries[at as usize].1 = row;
            return;
        }
        let Texts { text, entries, by_hash, hasher } = self;
        let at = entries.len() as u32;
        text.push_str(key);
        entries.push((text.len() as u32, row));
        by_hash.insert_unique(hash, at, |at| hasher.hash_one(slice(text, entries, *at)));
    }

    pub(super) fn find(&self, key: &str) -> Option<u32> {
        self.position(self.hasher.hash_one(key), key).map(|at| self.entries[at as usize].1)
    }

    fn position(&self, hash: u64, key: &str) -> Option<u32> {
        self.by_hash.find(hash, |at| slice(&self.text, &self.entries, *at) == key).copied()
    }

    /// Bytes of text so far; they are counted with 32 bits.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(super) fn finish(mut self) -> Texts {
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
        self
    }
}

fn slice<'t>(text: &'t str, entries: &[(u32, u32)], at: u32) -> &'t str {
    let start = (at as usize).checked_sub(1).map_or(0, |before| entries[before].0);
    &text[start as usize..entries[at as usize].0 as usize]
}

/// Networks of both versions of IP. An IPv4 address in the clothes of IPv6 (`::ffff:10.0.0.1`) is the IPv4 address, and a
/// network of such is the IPv4 network.
#[derive(Default)]
pub(super) struct Networks {
    v4: Nested<u32>,
    v6: Nested<u128>,
}

struct Nested<A> {
    /// By their first address, wider ones first.
    networks: Vec<Network<A>>,
}

struct Network<A> {
    first: A,
    last: A,
    /// The narrowest of the others that hold this one.
    around: u32,
    row: u32,
}

const NOTHING: u32 = u32::MAX;

impl<A> Default for Nested<A> {
    fn default() -> Nested<A> {
        Nested { networks: Vec::new() }
    }
}

impl Networks {
    /// Of two that are equal, the later one counts.
    pub(super) fn new(networks: Vec<(IpNet, u32)>) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, row) in networks {
            match plain(network) {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), row)),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), row)),
            }
        }
        Networks { v4: Nested::new(v4), v6: Nested::new(v6) }
    }

    /// The row of the narrowest network that holds the address and whose row counts.
    pub(super) fn find(&self, address: IpAddr, counts: impl Fn(u32) -> bool) -> Option<u32> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.find(address.to_bits(), counts),
            IpAddr::V6(address) => self.v6.find(address.to_bits(), counts),
        }
    }
}

/// A network of IPv4 addresses in IPv6 as one of IPv4.
fn plain(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(net) = network else { return network };
    let v4 = net.network().to_ipv4_mapped().filter(|_| net.prefix_len() >= MAPPED);
    v4.and_then(|address| Ipv4Net::new(address, net.prefix_len() - MAPPED).ok()).map_or(network, IpNet::V4)
}

impl<A: Copy + Ord> Nested<A> {
    fn new(mut given: Vec<(A, A, u32)>) -> Nested<A> {
        given.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut networks: Vec<Network<A>> = Vec::with_capacity(given.len());
        for (first, last, row) in given {
            if let Some(before) = networks.last_mut()
                && (before.first, before.last) == (first, last)
            {
                before.row = row;
                continue;
            }
            let mut around = networks.len().checked_sub(1).map_or(NOTHING, |before| before as u32);
            while let Some(network) = networks.get(around as usize)
                && network.last < last
            {
                around = network.around;
            }
            networks.push(Network { first, last, around, row });
        }
        networks.shrink_to_fit();
        Nested { networks }
    }

    fn find(&self, address: A, counts: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.networks.partition_point(|network| network.first <= address).checked_sub(1)?;
        loop {
            let network = self.networks.get(at)?;
            if address <= network.last && counts(network.row) {
                return Some(network.row);
            }
            // Past the last one by far where nothing is around.
            at = network.around as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(texts.iter().zip(0..).map(|(text, row)| (text.parse().unwrap(), row)).collect())
    }

    #[test]
    fn the_narrowest_network_is_found() {
        let all =
            networks(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1/128"]);
        for (address, row) in [
            ("10.1.2.3", Some(2)),
            ("10.1.2.4", Some(1)),
            ("10.2.0.0", Some(0)),
            ("11.0.0.0", Some(3)),
            ("2001:db8::1", Some(5)),
            ("2001:db8::2", Some(4)),
            ("2001:db9::", None),
            ("::ffff:10.1.2.3", Some(2)),
        ] {
            assert_eq!(all.find(address.parse().unwrap(), |_| true), row, "{address}");
        }
        assert_eq!(
            all.find("10.1.2.3".parse().unwrap(), |row| row != 2),
            Some(1),
            "one that does not count lets the next"
        );
        assert_eq!(all.find("10.1.2.3".parse().unwrap(), |_| false), None);
    }

    #[test]
    fn networks_lose_their_host_bits_and_their_clothes() {
        let all = networks(&["10.1.2.3/8", "::ffff:192.168.0.0/112", "::ffff:0:0/95"]);
        assert_eq!(all.find("10.9.9.9".parse().unwrap(), |_| true), Some(0));
        assert_eq!(all.find("192.168.7.7".parse().unwrap(), |_| true), Some(1));
        // This one holds more than IPv4, so it is one of IPv6.
        assert_eq!(all.find("172.16.0.1".parse().unwrap(), |_| true), None);
        assert_eq!(all.find("::fffe:0:1".parse().unwrap(), |_| true), Some(2));
    }

    #[test]
    fn the_later_of_two_equals_counts() {
        assert_eq!(networks(&["10.0.0.0/8", "10.5.0.0/8"]).find("10.0.0.1".parse().unwrap(), |_| true), Some(1));
        let mut texts = Texts::default();
        for (row, key) in (0..).zip(["a", "", "b", "a"]) {
            texts.insert(key, row);
        }
        let texts = texts.finish();
        assert_eq!(["a", "b", "", "c"].map(|key| texts.find(key)), [Some(3), Some(2), Some(1), None]);
    }

    /// Few addresses, so that networks are nested often.
    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = (0u32..64, 0u32..2).prop_map(|(low, high)| IpAddr::V4(Ipv4Addr::from_bits(high << 31 | low)));
        let v6 = (0u128..64, 0u128..2).prop_map(|(low, high)| IpAddr::V6(Ipv6Addr::from_bits(high << 127 | low << 60)));
        prop_oneof![v4, v6]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (address(), 0u8..=128).prop_map(|(address, bits)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, bits % (most + 1)).unwrap()
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_look_at_every_network_finds(
            given in prop::collection::vec(network(), 0..60),
            addresses in prop::collection::vec(address(), 1..40),
            silent in prop::collection::vec(any::<bool>(), 60),
        ) {
            let all = Networks::new(given.iter().zip(0..).map(|(network, row)| (*network, row)).collect());
            for address in addresses {
                let mut wanted: Option<(u8, u32)> = None;
                for (network, row) in given.iter().zip(0u32..) {
                    let replaced = given[row as usize + 1..].iter().any(|later| later.trunc() == network.trunc());
                    let wider = wanted.is_some_and(|(bits, _)| bits > network.prefix_len());
                    if network.contains(&address) && !replaced && !silent[row as usize] && !wider {
                        wanted = Some((network.prefix_len(), row));
                    }
                }
                prop_assert_eq!(all.find(address, |row| !silent[row as usize]), wanted.map(|(_, row)| row));
            }
        }

        #[test]
        fn texts_are_found_as_a_map_finds_them(keys in prop::collection::vec("[ab]{0,3}", 0..60), asked in "[abc]{0,3}") {
            let mut texts = Texts::default();
            let mut map = std::collections::HashMap::new();
            for (row, key) in (0..).zip(&keys) {
                texts.insert(key, row);
                map.insert(key.clone(), row);
            }
            prop_assert_eq!(texts.find(&asked), map.get(&asked).copied());
        }
    }
}
