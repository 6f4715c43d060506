//! A store of items without any I/O: that of tests, and of commands that change nothing.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{Answer, Applied, Call, Item, Next, Refusal, admit, apply};

/// Items by key, each charged to the rule that changed it last.
#[derive(Clone, Debug, Default)]
pub struct Items {
    items: BTreeMap<String, (String, Item)>,
    /// Bytes by rule.
    used: BTreeMap<String, u64>,
}

impl Items {
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.items.get(key).map(|(_, item)| item)
    }

    /// A call of a rule.
    pub fn call(&mut self, rule: &str, call: &Call, now: OffsetDateTime) -> Result<Answer, Refusal> {
        let Applied { next, answer } = apply(call, self.get(&call.key), now)?;
        match next {
            Next::Same => {}
            Next::Gone => self.remove(&call.key),
            Next::Put(item) => {
                let before = self.items.get(&call.key).filter(|(owner, _)| owner == rule);
                let before = before.map_or(0, |(_, item)| item.charge(&call.key));
                let used = self.used.get(rule).copied().unwrap_or(0);
                admit(used, used - before + item.charge(&call.key))?;
                self.remove(&call.key);
                *self.used.entry(rule.to_owned()).or_default() += item.charge(&call.key);
                self.items.insert(call.key.clone(), (rule.to_owned(), item));
            }
        }
        Ok(answer)
    }

    /// Removes at most `limit` items that have ended, and tells how many.
    pub fn remove_expired(&mut self, now: OffsetDateTime, limit: usize) -> usize {
        let ended = self.items.iter().filter(|(_, (_, item))| item.expires <= now);
        let keys: Vec<String> = ended.take(limit).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.remove(key));
        keys.len()
    }

    fn remove(&mut self, key: &str) {
        if let Some((owner, item)) = self.items.remove(key)
            && let Some(used) = self.used.get_mut(&owner)
        {
            *used -= item.charge(key);
            if *used == 0 {
                self.used.remove(&owner);
            }
        }
    }
}
