//! The places of objects in work, as many as the controller in `aimd` allows at the moment.
//!
//! The intake takes a place before it receives a message, and the message keeps it to its end; its objects are worked
//! on one after the other, so that no more objects are read at once than there are places.
//!
//! Large objects must not hold small ones back: they share at most half of the places. One that finds its share taken
//! waits without a place, which the next message gets instead; at most as many wait like that as there may be places at
//! all, so that the messages in hand are bounded, and one more keeps its place while it waits. A place that falls free
//! while the share has room goes to a large object that waits before it goes to a new message, so that these don't wait
//! for ever. An object whose size the notification does not tell counts as small: to learn it, it has to be opened.
//!
//! An object that was read and waits for the lake to commit its rows lends its place, too: a commit comes when enough
//! objects wait for it, and waits longest when there are few. So many of them may wait that commits are large, and no
//! more, so that the messages in hand stay bounded. What follows a commit is little, and is done without asking for the
//! place back; a message that has another object waits for a place again, before new messages get one.
//!
//! Nobody who has a place waits for another one, so the places can't deadlock.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::aimd::{Aimd, Change};
use crate::telemetry::Telemetry;

/// Stored bytes from which an object is large: it takes seconds where others take a moment.
pub(super) const LARGE: u64 = 64 * 1024 * 1024;

/// Objects that may wait for a commit without a place. More than the lake waits for before it commits, so that there is
/// work while it does.
const MOST_LENT: usize = 2 * crate::lake::FLUSH_WAITING;

/// Shared by the intake and all work.
pub struct Slots {
    book: Mutex<Book>,
    changed: Notify,
    telemetry: Telemetry,
}

struct Book {
    control: Aimd,
    /// Messages that have a place or lent theirs.
    held: usize,
    /// Large objects in work.
    large: usize,
    /// Large objects that wait without a place.
    parked: usize,
    /// At most so many of those.
    most_parked: usize,
    /// Objects that wait for a commit without a place.
    lent: usize,
    /// Messages that wait for a place for their next object.
    returning: usize,
    /// The intake waits for a place.
    wanted: bool,
}

impl Book {
    fn in_use(&self) -> usize {
        self.held.saturating_sub(self.parked + self.lent + self.returning)
    }

    fn share(&self) -> usize {
        (self.control.limit() / 2).max(1)
    }

    /// Places that fall to large objects first.
    fn reserved(&self) -> usize {
        self.parked.min(self.share().saturating_sub(self.large))
    }

    fn is_free(&self) -> bool {
        self.in_use() < self.control.limit()
    }

    /// For a new message.
    fn has_room(&self) -> bool {
        self.in_use() + self.reserved() + self.returning < self.control.limit()
    }
}

/// A place; free again when dropped.
#[must_use]
pub(super) struct Slot(Arc<Slots>);

/// A large object's part of their share; free again when dropped.
#[must_use]
pub(super) struct LargeSlot<'a>(&'a Slots);

impl Slots {
    /// At most `most` places, to begin with as many as this machine's cores suggest.
    pub fn new(most: usize, telemetry: Telemetry) -> Arc<Slots> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Slots::with_cores(most, cores, telemetry)
    }

    pub(super) fn with_cores(most: usize, cores: usize, telemetry: Telemetry) -> Arc<Slots> {
        let control = Aimd::new(most, cores);
        telemetry.metrics.object_slots.set([], control.limit() as u64);
        let book =
            Book { control, held: 0, large: 0, parked: 0, most_parked: most, lent: 0, returning: 0, wanted: false };
        Arc::new(Slots { book: Mutex::new(book), changed: Notify::new(), telemetry })
    }

    /// Waits for a place. For the intake, of which there is one.
    pub(super) async fn take(self: &Arc<Slots>) -> Slot {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change falls between the two.
            changed.as_mut().enable();
            if let Some(slot) = self.try_take() {
                return slot;
            }
            self.book().wanted = true;
            changed.await;
        }
    }

    pub(super) fn try_take(self: &Arc<Slots>) -> Option<Slot> {
        let mut book = self.book();
        if !book.has_room() {
            return None;
        }
        book.held += 1;
        book.wanted = false;
        Some(Slot(self.clone()))
    }

    /// Waits until one more large object may be worked on. The message of the object has a place; the wait lends it.
    pub(super) async fn large(&self) -> LargeSlot<'_> {
        let mut waiting: Option<Parked<'_>> = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut book = self.book();
                let has_place = waiting.is_none() || book.is_free();
                if book.large < book.share() && has_place {
                    book.large += 1;
                    if let Some(parked) = waiting.take() {
                        book.parked -= 1;
                        std::mem::forget(parked);
                    }
                    return LargeSlot(self);
                }
                if waiting.is_none() && book.parked < book.most_parked {
                    book.parked += 1;
                    waiting = Some(Parked(self));
                    drop(book);
                    self.changed.notify_waiters();
                    continue;
                }
            }
            changed.await;
        }
    }

    /// Lends the place of an object until what is returned is dropped; `None` when too many are lent.
    pub(super) fn lend(&self) -> Option<Lent<'_>> {
        let mut book = self.book();
        if book.lent >= MOST_LENT {
            return None;
        }
        book.lent += 1;
        self.telemetry.metrics.lake_objects_waiting.set([], book.lent as u64);
        drop(book);
        self.changed.notify_waiters();
        Some(Lent(self))
    }

    /// Waits until a message, whose last object had lent its place, may go on with another one.
    pub(super) async fn again(&self) {
        self.book().returning += 1;
        // It lends its place until then, whatever becomes of the wait.
        let _returning = Returning(self);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.book().is_free() {
                return;
            }
            changed.await;
        }
    }

    /// An object that began then was read to its end.
    pub(super) fn finished(&self, began: Instant) {
        let mut book = self.book();
        let wanted = book.wanted;
        let change = book.control.finished(began, wanted);
        self.tell(book, change);
    }

    /// The store of an object that began then asked for less.
    pub(super) fn throttled(&self, began: Instant) {
        let mut book = self.book();
        let change = book.control.throttled(began, Instant::now());
        self.tell(book, change);
    }

    /// An object that began then has to wait for memory.
    pub(super) fn short_of_memory(&self, began: Instant) {
        let mut book = self.book();
        let change = book.control.short_of_memory(began, Instant::now());
        self.tell(book, change);
    }

    fn tell(&self, book: MutexGuard<'_, Book>, change: Option<Change>) {
        let limit = book.control.limit();
        drop(book);
        if let Some(change) = change {
            self.telemetry.object_slots_changed(limit, change.as_str());
            self.changed.notify_waiters();
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics while holding the book of places")
    }
}

/// A place that another may have meanwhile.
#[must_use]
pub(super) struct Lent<'a>(&'a Slots);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut book = self.0.book();
        book.lent -= 1;
        self.0.telemetry.metrics.lake_objects_waiting.set([], book.lent as u64);
        drop(book);
        self.0.changed.notify_waiters();
    }
}

/// A message that waits for a place for its next object.
struct Returning<'a>(&'a Slots);

impl Drop for Returning<'_> {
    fn drop(&mut self) {
        self.0.book().returning -= 1;
        self.0.changed.notify_waiters();
    }
}

/// A large object that waits without a place.
struct Parked<'a>(&'a Slots);

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.book().parked -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.book().held -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Drop for LargeSlot<'_> {
    fn drop(&mut self) {
        self.0.book().large -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn slots(most: usize, cores: usize) -> Arc<Slots> {
        Slots::with_cores(most, cores, Telemetry::new())
    }

    /// Whatever can be had at once.
    fn all(slots: &Arc<Slots>) -> Vec<Slot> {
        std::iter::from_fn(|| slots.try_take()).collect()
    }

    #[tokio::test]
    async fn a_place_that_waits_for_a_commit_is_lent() {
        let slots = slots(4, 2);
        let places = all(&slots);
        assert!(slots.try_take().is_none());
        let lent: Vec<Lent<'_>> = places.iter().filter_map(|_| slots.lend()).collect();
        let others = all(&slots);
        assert_eq!((lent.len(), others.len()), (4, 4));
        // They come back without asking, and nobody new comes before there is room again.
        drop(lent);
        drop(others);
        assert!(slots.try_take().is_none());
        drop(places);
        assert_eq!(all(&slots).len(), 4);
    }

    #[tokio::test]
    async fn a_message_waits_for_a_place_for_its_next_object_and_comes_before_new_ones() {
        let slots = slots(4, 2);
        let places = all(&slots);
        let lent: Vec<Lent<'_>> = places.iter().filter_map(|_| slots.lend()).collect();
        let mut others = all(&slots);
        drop(lent);
        // Eight hold four places: what goes on does so when others have ended.
        let mut again = Box::pin(slots.again());
        assert!(again.as_mut().now_or_never().is_none());
        others.truncate(1);
        assert!(again.as_mut().now_or_never().is_none(), "four others are in work");
        drop(others);
        assert!(again.now_or_never().is_some());
        assert!(slots.try_take().is_none());
    }

    #[tokio::test]
    async fn no_more_places_are_lent_than_may_be() {
        let slots = slots(4, 2);
        let lent: Vec<Lent<'_>> = std::iter::from_fn(|| slots.lend()).collect();
        assert_eq!(lent.len(), MOST_LENT);
        drop(lent);
        assert!(slots.lend().is_some());
    }

    #[tokio::test]
    async fn large_objects_have_half_of_the_places_and_lend_the_rest() {
        let slots = slots(4, 2);
        let places = all(&slots);
        assert_eq!(places.len(), 4);
        let first = slots.large().now_or_never().unwrap();
        let _second = slots.large().now_or_never().unwrap();
        let mut third = Box::pin(slots.large());
        let mut fourth = Box::pin(slots.large());
        assert!(third.as_mut().now_or_never().is_none() && fourth.as_mut().now_or_never().is_none());
        // The two that wait lend their places to small ones.
        let small = all(&slots);
        assert_eq!(small.len(), 2);

        // Their share has room again, but there is no place for them yet; the next is theirs, not a new message's.
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(small);
        assert_eq!(all(&slots).len(), 1, "one of two places is kept for the large one");
        let third = third.now_or_never().unwrap();
        assert!(fourth.as_mut().now_or_never().is_none());
        drop(third);
        assert!(fourth.now_or_never().is_some());
    }

    #[tokio::test]
    async fn no_more_large_objects_wait_without_a_place_than_there_may_be_places() {
        let slots = slots(2, 1);
        let mut held = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..5 {
            held.extend(slots.try_take());
            let mut large = Box::pin(slots.large());
            if large.as_mut().now_or_never().is_none() {
                waiting.push(large);
            }
        }
        assert!(held.len() <= 4, "{}", held.len());
        assert!(slots.try_take().is_none());
    }

    #[tokio::test]
    async fn one_that_stops_waiting_leaves_the_books_as_they_were() {
        let slots = slots(2, 2);
        let places = all(&slots);
        let large = slots.large().now_or_never().unwrap();
        let mut waiting = Box::pin(slots.large());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        drop((large, places));
        assert_eq!(all(&slots).len(), 2);
        let book = slots.book();
        assert_eq!((book.parked, book.large), (0, 0));
    }

    #[tokio::test]
    async fn a_lower_limit_holds_new_ones_back_until_enough_have_ended() {
        let slots = slots(8, 4);
        let mut places = all(&slots);
        slots.throttled(Instant::now());
        assert_eq!(slots.telemetry.metrics.object_slots.get([]), 4);
        let mut next = Box::pin(slots.take());
        places.truncate(4);
        assert!(next.as_mut().now_or_never().is_none());
        places.truncate(3);
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_wanted_grow_in_number() {
        let slots = slots(8, 2);
        let mut places = all(&slots);
        let began = Instant::now();
        for _ in 0..5 {
            slots.finished(began);
        }
        assert_eq!(places.len(), 4, "nobody waited");
        assert!(Box::pin(slots.take()).as_mut().now_or_never().is_none());
        for _ in 0..5 {
            slots.finished(began);
        }
        places.extend(all(&slots));
        assert_eq!(places.len(), 5);
        assert_eq!(slots.telemetry.metrics.object_slots_changes_total.get(["demand"]), 1);
    }
}
