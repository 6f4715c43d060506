//! Whose turn it is: queries wait in the order in which they came, and callers take turns, so that one who asks for much
//! holds up nobody who asks for little. Pure.

use std::collections::{BTreeMap, VecDeque};

/// How many may run and wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) running: usize,
    pub(super) running_per_user: usize,
    pub(super) waiting: usize,
}

/// The queries that run and those that wait.
#[derive(Debug)]
pub(super) struct Line<T> {
    room: Room,
    running: usize,
    /// Starts of all time; who had none for longest comes first.
    starts: u64,
    users: BTreeMap<String, User<T>>,
}

#[derive(Debug)]
struct User<T> {
    waiting: VecDeque<T>,
    running: usize,
    last_start: u64,
}

impl<T: PartialEq> Line<T> {
    pub(super) fn new(room: Room) -> Line<T> {
        Line { room, running: 0, starts: 0, users: BTreeMap::new() }
    }

    /// Gives the query back when there is no room for it. One caller may take half of the places, so that another finds one.
    pub(super) fn join(&mut self, user: &str, query: T) -> Result<(), T> {
        let of_user = self.users.get(user).map_or(0, |user| user.waiting.len());
        if self.waiting() >= self.room.waiting || of_user >= self.room.waiting.div_ceil(2) {
            return Err(query);
        }
        let none = || User { waiting: VecDeque::new(), running: 0, last_start: 0 };
        self.users.entry(user.to_owned()).or_insert_with(none).waiting.push_back(query);
        Ok(())
    }

    /// The next that may start, which counts as running from now on: of the caller with the fewest running, and among these
    /// of the one whose last start was longest ago.
    pub(super) fn next(&mut self) -> Option<T> {
        if self.running >= self.room.running {
            return None;
        }
        let may = |user: &User<T>| !user.waiting.is_empty() && user.running < self.room.running_per_user;
        let users = self.users.values_mut().filter(|user| may(user));
        let user = users.min_by_key(|user| (user.running, user.last_start))?;
        self.running += 1;
        self.starts += 1;
        user.running += 1;
        user.last_start = self.starts;
        user.waiting.pop_front()
    }

    /// One of this caller's has ended.
    pub(super) fn ended(&mut self, user: &str) {
        self.running = self.running.saturating_sub(1);
        if let Some(own) = self.users.get_mut(user) {
            own.running = own.running.saturating_sub(1);
        }
        self.forget_idle();
    }

    /// Takes a query that waits out of the line; whether it was there.
    pub(super) fn leave(&mut self, user: &str, query: &T) -> bool {
        let Some(own) = self.users.get_mut(user) else { return false };
        let place = own.waiting.iter().position(|waiting| waiting == query);
        let left = place.and_then(|place| own.waiting.remove(place)).is_some();
        self.forget_idle();
        left
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn waiting(&self) -> usize {
        self.users.values().map(|user| user.waiting.len()).sum()
    }

    fn forget_idle(&mut self) {
        self.users.retain(|_, user| user.running > 0 || !user.waiting.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<u32> {
        Line::new(Room { running: 3, running_per_user: 2, waiting: 6 })
    }

    #[test]
    fn callers_take_turns() {
        let mut line = line();
        for query in [1, 2, 3] {
            line.join("ana", query).unwrap();
        }
        line.join("bob", 10).unwrap();
        assert_eq!((line.next(), line.next(), line.next(), line.next()), (Some(1), Some(10), Some(2), None));
        line.ended("bob");
        // The third place is free, and Ana has her two.
        assert_eq!(line.next(), None);
        line.join("bob", 11).unwrap();
        line.ended("ana");
        assert_eq!((line.next(), line.next(), line.next()), (Some(11), Some(3), None));
        assert_eq!((line.running(), line.waiting()), (3, 0));
    }

    #[test]
    fn a_full_line_takes_nobody_and_one_caller_does_not_fill_it() {
        let mut line = line();
        for query in [1, 2, 3] {
            line.join("ana", query).unwrap();
        }
        assert_eq!(line.join("ana", 4), Err(4));
        for query in [10, 11, 12] {
            line.join("bob", query).unwrap();
        }
        assert_eq!(line.join("eve", 20), Err(20));
        assert!(line.leave("ana", &2) && !line.leave("ana", &2));
        line.join("eve", 20).unwrap();
    }

    #[test]
    fn callers_without_queries_are_forgotten() {
        let mut line = line();
        line.join("ana", 1).unwrap();
        assert_eq!(line.next(), Some(1));
        line.ended("ana");
        line.join("bob", 2).unwrap();
        assert!(line.leave("bob", &2));
        assert!(line.users.is_empty());
    }
}
