//! One budget for the bytes that are fetched, decoded and not yet durable, so that load never becomes memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shared by all objects in flight. An object takes its window once, before it starts, and returns it when it was read;
/// running objects never ask for more, so they cannot deadlock on each other.
#[derive(Clone)]
pub struct ByteBudget {
    kib: Arc<Semaphore>,
    total: u32,
    large_window: Arc<Semaphore>,
}

/// Bytes taken from the budget; given back when dropped.
#[must_use]
pub struct BytePermit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl ByteBudget {
    pub fn new(bytes: u64) -> ByteBudget {
        let total = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        ByteBudget { kib: Arc::new(Semaphore::new(total as usize)), total, large_window: Arc::new(Semaphore::new(1)) }
    }

    /// Whether `bytes` are free at this moment.
    pub fn fits(&self, bytes: u64) -> bool {
        self.kib.available_permits() >= self.permits(bytes) as usize
    }

    /// Waits until `bytes` are free. A request above the whole budget waits for all of it instead of forever.
    pub async fn take(&self, bytes: u64) -> BytePermit {
        let permit = self.kib.clone().acquire_many_owned(self.permits(bytes)).await;
        BytePermit(permit.expect("the budget's semaphore is never closed"))
    }

    fn permits(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.total)
    }

    /// Waits until no other object has large windows. A class of its own, on top of the budget: whether an object needs
    /// them is known only while it runs, and running objects that asked each other for bytes of the budget would wait
    /// for ever. The one that has them asks for nothing more.
    pub async fn take_large_window(&self) -> BytePermit {
        let permit = self.large_window.clone().acquire_owned().await;
        BytePermit(permit.expect("the budget's semaphore is never closed"))
    }

    pub fn in_use(&self) -> u64 {
        (u64::from(self.total) - self.kib.available_permits() as u64) * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn large_windows_go_to_one_object_at_a_time_whatever_the_budget() {
        let budget = ByteBudget::new(1024);
        let all = budget.take(u64::MAX).await;
        let large = budget.take_large_window().await;
        assert!(budget.take_large_window().now_or_never().is_none());
        drop((large, all));
        assert!(budget.take_large_window().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_full_budget_waits_and_an_oversized_request_gets_all() {
        let budget = ByteBudget::new(1024 * 1024);
        let all = budget.take(u64::MAX).await;
        assert_eq!(budget.in_use(), 1024 * 1024);
        assert!(budget.take(1).now_or_never().is_none() && !budget.fits(1));
        drop(all);
        assert!(budget.fits(u64::MAX) && budget.take(1).now_or_never().is_some());
        assert_eq!(budget.in_use(), 0);
    }
}
