//! What one file may cost: the bytes that its decoder holds, charged before there are any, and what it unpacks over
//! all.

use super::super::error::Reason;
use super::super::is_bomb;

pub(super) struct Meter {
    used: usize,
    limit: usize,
    /// Bytes of the object that were read, from the beginning on.
    read: u64,
    /// Bytes that pages unpacked to, from the beginning on. Pages need not have rows.
    unpacked: u64,
    /// The most of these.
    max_object_bytes: u64,
}

impl Meter {
    pub(super) fn new(limit: usize, max_object_bytes: u64) -> Meter {
        Meter { used: 0, limit, read: 0, unpacked: 0, max_object_bytes }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn raise(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Replaces what was charged before, if there is room for more of it.
    pub(super) fn charge(&mut self, before: &mut usize, now: usize) -> bool {
        let used = self.used - *before + now;
        if now > *before && used > self.limit {
            return false;
        }
        (self.used, *before) = (used, now);
        true
    }

    /// Whether there is room for so much beside all that is held.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.used -= bytes;
    }

    pub(super) fn was_read(&mut self, bytes: usize) {
        self.read += bytes as u64;
    }

    /// Counts what is about to be unpacked, against the caps of all codecs.
    pub(super) fn unpack(&mut self, bytes: usize) -> Result<(), Reason> {
        self.unpacked += bytes as u64;
        if self.unpacked > self.max_object_bytes {
            return Err(Reason::TooLarge { limit: self.max_object_bytes });
        }
        self.check_ratio(self.unpacked)
    }

    pub(super) fn check_ratio(&self, bytes_out: u64) -> Result<(), Reason> {
        if is_bomb(self.read, bytes_out) {
            return Err(Reason::Bomb { bytes_in: self.read, bytes_out });
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }
}
