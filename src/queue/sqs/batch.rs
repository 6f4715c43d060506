//! Makes batches of calls that come within a few milliseconds. Callers know nothing of it: each awaits the outcome of
//! its own entry. Knows nothing of SQS but how many entries a batch has.
//!
//! There is no task behind it. A batch is one future that all its callers share and poll, so it goes on for as long as
//! one of them does; a caller that gives up before its batch is sent takes its entry out. So there are never more
//! entries here than there are calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::runtime::Backoff;

/// SQS takes at most this many entries in a call.
pub(super) const LIMIT: usize = 10;

/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(5);

/// An entry that fails by a fault of the queue's is tried this often.
const ATTEMPTS: u32 = 4;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// Why an entry failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// The queue answered for this entry alone. What is not the sender's fault is worth another try.
    Entry { code: String, reason: String, sender_fault: bool },
    /// The call as a whole failed; the text is the whole story.
    Call(String),
}

pub(super) type Outcome = Result<(), Failure>;

/// Sends entries in one call; as many outcomes in the same order.
type Send<T> = dyn Fn(Vec<T>) -> BoxFuture<'static, Vec<Outcome>> + std::marker::Send + Sync;

type Run = Shared<BoxFuture<'static, Arc<HashMap<usize, Outcome>>>>;

pub(super) struct Batches<T> {
    send: Arc<Send<T>>,
    /// The batch that takes entries, with the future that sends it.
    open: Mutex<Option<(Arc<Batch<T>>, Run)>>,
}

struct Batch<T> {
    /// `None` once the batch is being sent; an entry that was taken out leaves its place empty.
    entries: Mutex<Option<Vec<Option<T>>>>,
    full: Notify,
}

impl<T: Clone + std::marker::Send + 'static> Batches<T> {
    pub(super) fn new(
        send: impl Fn(Vec<T>) -> BoxFuture<'static, Vec<Outcome>> + std::marker::Send + Sync + 'static,
    ) -> Batches<T> {
        Batches { send: Arc::new(send), open: Mutex::default() }
    }

    /// Sends the entry in the company of others and tells what became of it.
    pub(super) async fn call(&self, entry: T) -> Outcome {
        let mut attempt = 0;
        loop {
            let outcome = self.once(entry.clone()).await;
            attempt += 1;
            let again = matches!(&outcome, Err(Failure::Entry { sender_fault: false, .. }));
            if !again || attempt == ATTEMPTS {
                return outcome;
            }
            sleep(BACKOFF.delay(attempt - 1)).await;
        }
    }

    async fn once(&self, entry: T) -> Outcome {
        let (place, run) = self.join(entry);
        let outcomes = run.await;
        outcomes.get(&place.index).cloned().expect("an entry that is waited for is in its batch")
    }

    /// A place in the open batch, or in a new one.
    fn join(&self, entry: T) -> (Place<T>, Run) {
        let mut open = locked(&self.open);
        if let Some((batch, run)) = &*open
            && let Some(index) = batch.add(&entry)
        {
            return (Place { batch: batch.clone(), index }, run.clone());
        }
        let batch = Arc::new(Batch { entries: Mutex::new(Some(vec![Some(entry)])), full: Notify::new() });
        let run = batch.clone().run(self.send.clone()).boxed().shared();
        *open = Some((batch.clone(), run.clone()));
        (Place { batch, index: 0 }, run)
    }
}

impl<T> Batch<T> {
    /// The entry's place; `None` when the batch is full or being sent.
    fn add(&self, entry: &T) -> Option<usize>
    where
        T: Clone,
    {
        let mut entries = locked(&self.entries);
        let entries = entries.as_mut().filter(|entries| entries.len() < LIMIT)?;
        entries.push(Some(entry.clone()));
        if entries.len() == LIMIT {
            self.full.notify_one();
        }
        Some(entries.len() - 1)
    }

    async fn run(self: Arc<Self>, send: Arc<Send<T>>) -> Arc<HashMap<usize, Outcome>> {
        tokio::select! {
            () = sleep(LINGER) => {}
            () = self.full.notified() => {}
        }
        let entries = locked(&self.entries).take().unwrap_or_default();
        let (places, entries): (Vec<usize>, Vec<T>) =
            entries.into_iter().enumerate().filter_map(|(place, entry)| Some((place, entry?))).unzip();
        let outcomes = send(entries).await;
        Arc::new(places.into_iter().zip(outcomes).collect())
    }
}

/// Where a caller's entry is; given up with the call.
struct Place<T> {
    batch: Arc<Batch<T>>,
    index: usize,
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        if let Some(entries) = locked(&self.batch.entries).as_mut() {
            entries[self.index] = None;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::{Instant, timeout};

    use super::*;

    /// What each call got.
    type Calls = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Batches of numbers that end as `outcome` says of a number and how often it came before.
    fn batches(outcome: impl Fn(u32, usize) -> Outcome + std::marker::Send + Sync + 'static) -> (Batches<u32>, Calls) {
        let calls = Calls::default();
        let seen = calls.clone();
        let send = move |entries: Vec<u32>| {
            let mut calls = locked(&seen);
            let before = |entry: u32| calls.iter().flatten().filter(|other| **other == entry).count();
            let outcomes: Vec<Outcome> = entries.iter().map(|entry| outcome(*entry, before(*entry))).collect();
            calls.push(entries);
            async move {
                sleep(Duration::from_secs(1)).await;
                outcomes
            }
            .boxed()
        };
        (Batches::new(send), calls)
    }

    fn refused(code: &str, sender_fault: bool) -> Outcome {
        Err(Failure::Entry { code: code.into(), reason: String::new(), sender_fault })
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_come_together_are_sent_together() {
        let (batches, calls) = batches(|_, _| Ok(()));
        let outcomes = join_all((0..25).map(|entry| batches.call(entry))).await;
        assert!(outcomes.iter().all(Result::is_ok));
        let mut sizes: Vec<usize> = locked(&calls).iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [5, 10, 10]);
        let mut all = locked(&calls).concat();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_call_waits_only_a_moment() {
        let (batches, calls) = batches(|_, _| Ok(()));
        let started = Instant::now();
        batches.call(7).await.unwrap();
        assert_eq!(started.elapsed(), LINGER + Duration::from_secs(1));
        batches.call(8).await.unwrap();
        assert_eq!(*locked(&calls), [[7], [8]]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_has_its_own_outcome() {
        let (batches, calls) = batches(|entry, _| if entry == 3 { refused("Gone", true) } else { Ok(()) });
        let outcomes = join_all((0..6).map(|entry| batches.call(entry))).await;
        for (entry, outcome) in (0..).zip(outcomes) {
            assert_eq!(outcome, if entry == 3 { refused("Gone", true) } else { Ok(()) });
        }
        assert_eq!(locked(&calls).len(), 1, "what is the sender's fault is not tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_of_the_queue_is_tried_again_and_alone() {
        let (batches, calls) =
            batches(|entry, before| if entry == 1 && before < 2 { refused("Internal", false) } else { Ok(()) });
        let outcomes = join_all((0..3).map(|entry| batches.call(entry))).await;
        assert_eq!(outcomes, [Ok(()), Ok(()), Ok(())]);
        assert_eq!(*locked(&calls), [vec![0, 1, 2], vec![1], vec![1]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_that_lasts_is_told_in_the_end() {
        let (batches, calls) = batches(|_, _| refused("Internal", false));
        assert_eq!(batches.call(1).await, refused("Internal", false));
        assert_eq!(locked(&calls).len(), ATTEMPTS as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_call_fails_all_its_entries() {
        let (batches, calls) = batches(|_, _| Err(Failure::Call("no answer".into())));
        let outcomes = join_all((0..3).map(|entry| batches.call(entry))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err(Failure::Call("no answer".into()))));
        assert_eq!(locked(&calls).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_takes_its_entry_along_and_holds_nobody_up() {
        let (batches, calls) = batches(|_, _| Ok(()));
        let moment = LINGER / 5;
        // The first caller began the batch, and is gone before it is sent.
        let (gone, stays) = tokio::join!(timeout(moment, batches.call(1)), batches.call(2));
        assert!(gone.is_err());
        stays.unwrap();
        assert_eq!(*locked(&calls), [[2]]);

        // And gone while it is on its way.
        let (gone, stays) = tokio::join!(timeout(LINGER * 2, batches.call(3)), batches.call(4));
        assert!(gone.is_err());
        stays.unwrap();
        assert_eq!(*locked(&calls), [vec![2], vec![3, 4]]);

        // A batch that everybody left is nobody's trouble.
        assert!(timeout(moment, batches.call(5)).await.is_err());
        batches.call(6).await.unwrap();
        assert_eq!(*locked(&calls), [vec![2], vec![3, 4], vec![6]]);
    }
}
