//! How many objects may be worked on at once: additive increase, multiplicative decrease. Pure; time comes as an
//! argument.
//!
//! The limit starts at a few objects for each core, because most of an object's time is CPU of decoding and parsing
//! while the rest of it waits for the network. It grows by one for each round in which every place was wanted (a round
//! is as many finished objects as there are places, so growth is as slow as the objects are), up to the configured most
//! and to what the cores can be busy with at all. It is halved when a store answers "slow down". That happens once a
//! round trip: an object that began before the last halving was part of the crowd that caused it, so its own throttling
//! says nothing new. For the same reason its success does not count as a sign of room.
//!
//! An object that had to wait for memory does not lower the limit (the byte budget itself holds it back), but there is
//! no growth until the objects that began before it have passed.

use tokio::time::Instant;

/// Places for each core at the start.
const START_PER_CORE: usize = 2;

/// More than this for each core wait for each other's CPU time.
const MOST_PER_CORE: usize = 16;

/// A change of the limit, or what kept it from growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Grown,
    Throttled,
    Memory,
}

impl Change {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Change::Grown => "demand",
            Change::Throttled => "throttled",
            Change::Memory => "memory",
        }
    }
}

pub(super) struct Aimd {
    limit: f64,
    least: f64,
    most: f64,
    /// What began before this tells of a state that is over.
    since: Option<Instant>,
}

impl Aimd {
    pub(super) fn new(most: usize, cores: usize) -> Aimd {
        let cores = cores.max(1);
        let most = most.min(cores.saturating_mul(MOST_PER_CORE)).max(1);
        // Two where that fits, so that a large object never has the only place.
        let least = cores.min(2).min(most);
        let start = (cores * START_PER_CORE).clamp(least, most);
        Aimd { limit: start as f64, least: least as f64, most: most as f64, since: None }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// An object came to its end without trouble; `wanted`: somebody waits for a place.
    pub(super) fn finished(&mut self, began: Instant, wanted: bool) -> Option<Change> {
        if !wanted || self.is_old(began) || self.limit >= self.most {
            return None;
        }
        let before = self.limit();
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
        (self.limit() > before).then_some(Change::Grown)
    }

    /// A store asked for less.
    pub(super) fn throttled(&mut self, began: Instant, now: Instant) -> Option<Change> {
        if self.is_old(began) {
            return None;
        }
        self.since = Some(now);
        self.limit = (self.limit / 2.0).max(self.least);
        Some(Change::Throttled)
    }

    /// An object waits for memory.
    pub(super) fn short_of_memory(&mut self, began: Instant, now: Instant) -> Option<Change> {
        if self.is_old(began) {
            return None;
        }
        self.since = Some(now);
        Some(Change::Memory)
    }

    fn is_old(&self, began: Instant) -> bool {
        self.since.is_some_and(|since| began <= since)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_starts_by_the_cores_within_the_configured_most() {
        for (most, cores, start) in [(32, 4, 8), (3, 4, 3), (1, 1, 1), (10_000, 2, 4), (32, 0, 2)] {
            assert_eq!(Aimd::new(most, cores).limit(), start, "{most} {cores}");
        }
    }

    #[test]
    fn it_grows_by_one_a_round_while_places_are_wanted_and_never_past_its_most() {
        let mut aimd = Aimd::new(10_000, 4);
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(aimd.finished(now, false), None);
        }
        assert_eq!(aimd.limit(), 8);
        // A little more than a round: the first step makes the following ones smaller.
        let grown = (0..9).filter(|_| aimd.finished(now, true) == Some(Change::Grown)).count();
        assert_eq!((grown, aimd.limit()), (1, 9));
        for _ in 0..100_000 {
            aimd.finished(now, true);
        }
        assert_eq!(aimd.limit(), 4 * MOST_PER_CORE);
    }

    #[test]
    fn a_throttled_crowd_halves_it_once_and_its_successes_do_not_count() {
        let mut aimd = Aimd::new(32, 8);
        let began = Instant::now();
        let now = began + SECOND;
        assert_eq!(aimd.throttled(began, now), Some(Change::Throttled));
        for _ in 0..15 {
            assert_eq!(aimd.throttled(began, now + SECOND), None);
            assert_eq!(aimd.finished(began, true), None);
        }
        assert_eq!(aimd.limit(), 8);
        // One that began afterwards was throttled too.
        assert_eq!(aimd.throttled(now + SECOND, now + SECOND * 2), Some(Change::Throttled));
        assert_eq!(aimd.limit(), 4);
        for n in 3..30 {
            aimd.throttled(now + SECOND * n, now + SECOND * n);
        }
        assert_eq!(aimd.limit(), 2);
        // And it finds its way back.
        for _ in 0..2 * 3 {
            aimd.finished(now + SECOND * 60, true);
        }
        assert_eq!(aimd.limit(), 4);
    }

    #[test]
    fn shortage_of_memory_keeps_it_where_it_is() {
        let mut aimd = Aimd::new(32, 8);
        let began = Instant::now();
        let now = began + SECOND;
        assert_eq!(aimd.short_of_memory(began, now), Some(Change::Memory));
        assert_eq!(aimd.finished(began, true), None);
        assert_eq!(aimd.limit(), 16);
        for _ in 0..17 {
            aimd.finished(now + SECOND, true);
        }
        assert_eq!(aimd.limit(), 17);
    }
}
