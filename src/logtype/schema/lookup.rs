//! Which field a key of a record is. Every key of every record is looked up, so its hash is made of its length and three of
//! its bytes. Whoever writes a log can't make that slow: the table holds the keys of the schema only.

/// Fields by their key.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Number of a field and one, or 0. A power of two of them, at most a quarter full.
    slots: Box<[u32]>,
}

impl Lookup {
    /// Of keys that are there twice, the last one counts.
    pub(super) fn new<'k>(keys: impl Iterator<Item = &'k str> + Clone) -> Lookup {
        let fields = keys.clone().count();
        let mut lookup = Lookup { slots: vec![0; (fields * 4).next_power_of_two()].into() };
        let known: Vec<&str> = keys.collect();
        for (at, key) in known.iter().enumerate() {
            let slot = lookup.slot(key, |at| known[at]);
            lookup.slots[slot] = u32::try_from(at + 1).expect("a schema has a bounded number of types");
        }
        lookup
    }

    pub(super) fn find<'k>(&self, key: &str, key_of: impl Fn(usize) -> &'k str) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        (self.slots[self.slot(key, key_of)] as usize).checked_sub(1)
    }

    /// The slot of a key, or the empty one where it would be.
    fn slot<'k>(&self, key: &str, key_of: impl Fn(usize) -> &'k str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(key.as_bytes()) & mask;
        while let Some(at) = (self.slots[slot] as usize).checked_sub(1) {
            if key_of(at) == key {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }
}

fn hash(key: &[u8]) -> usize {
    let byte = |at: usize| key.get(at).map_or(0, |byte| u32::from(*byte));
    let mixed = key.len() as u32 ^ byte(0) << 8 ^ byte(key.len() / 2) << 16 ^ byte(key.len().wrapping_sub(1)) << 24;
    (mixed.wrapping_mul(0x9e37_79b1) >> 12) as usize
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
