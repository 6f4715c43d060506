//! Which field a key of a record is. Every key of every record is looked up, so most are told by their two ends, which are
//! hashed and compared as numbers. Whoever writes a log can't make that slow: the table holds the keys of the schema only.

/// Fields by their key.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Number of a key and one, or 0. A power of two of them, at most a quarter full.
    slots: Box<[u32]>,
    keys: Box<[Ends]>,
}

/// What a key is known by: all of it, if it has no more than [`Ends::ALL`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    len: usize,
    first: u64,
    last: u64,
}

impl Ends {
    const ALL: usize = 16;

    #[inline]
    fn of(key: &[u8]) -> Ends {
        let len = key.len();
        if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            return Ends { len, first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last) };
        }
        if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
            return Ends { len, first: u32::from_le_bytes(*first).into(), last: u32::from_le_bytes(*last).into() };
        }
        Ends { len, first: key.iter().fold(0, |bytes, byte| bytes << 8 | u64::from(*byte)), last: 0 }
    }

    fn hash(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29) ^ self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize
    }
}

impl Lookup {
    /// Of keys that are there twice, the last one counts.
    pub(super) fn new<'k>(keys: impl Iterator<Item = &'k str>) -> Lookup {
        let known: Vec<&str> = keys.collect();
        let keys = known.iter().map(|key| Ends::of(key.as_bytes())).collect();
        let mut lookup = Lookup { slots: vec![0; (known.len() * 4).next_power_of_two()].into(), keys };
        for (at, key) in known.iter().enumerate() {
            let slot = lookup.slot(key, |at| known[at]);
            lookup.slots[slot] = u32::try_from(at + 1).expect("a schema has a bounded number of types");
        }
        lookup
    }

    #[inline]
    pub(super) fn find<'k>(&self, key: &str, key_of: impl Fn(usize) -> &'k str) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        (self.slots[self.slot(key, key_of)] as usize).checked_sub(1)
    }

    /// The slot of a key, or the empty one where it would be.
    #[inline]
    fn slot<'k>(&self, key: &str, key_of: impl Fn(usize) -> &'k str) -> usize {
        let ends = Ends::of(key.as_bytes());
        let mask = self.slots.len() - 1;
        let mut slot = ends.hash() & mask;
        while let Some(at) = (self.slots[slot] as usize).checked_sub(1) {
            if self.keys[at] == ends && (ends.len <= Ends::ALL || key_of(at) == key) {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_and_others_are_not() {
        for count in [0, 1, 2, 3, 100, 5000] {
            let keys: Vec<String> = (0..count).map(|n| format!("{}k{n}", "é".repeat(n % 3))).collect();
            let lookup = Lookup::new(keys.iter().map(String::as_str));
            for (at, key) in keys.iter().enumerate() {
                assert_eq!(lookup.find(key, |at| &keys[at]), Some(at));
                assert_eq!(lookup.find(&format!("{key}x"), |at| &keys[at]), None);
            }
            assert_eq!(lookup.find("", |at| &keys[at]), None);
        }
    }

    #[test]
    fn of_two_fields_with_one_key_the_last_counts() {
        let keys = ["a", "b", "a"];
        assert_eq!(Lookup::new(keys.into_iter()).find("a", |at| keys[at]), Some(2));
    }
}
