//! What one of many daemons does at a time, again and again: the lease of the state store says who, and when the next turn is
//! due.
//!
//! A turn holds the lease with short terms, so that another daemon goes on soon after the death of the one at work. At its
//! end the lease is kept until the next turn is due, for whoever asks first then. A start of a daemon is no turn.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::SharedClock;
use crate::state::{Lease, Leases, StateError};
use crate::telemetry::Telemetry;

/// Without a sign of life for so long, the holder is taken for dead.
const TERM: Duration = Duration::from_secs(120);

/// Between two signs of life.
const SIGN: Duration = Duration::from_secs(30);

pub(super) struct Duty {
    pub(super) name: &'static str,
    /// From the begin of a turn to that of the next.
    pub(super) every: Duration,
    pub(super) leases: Arc<dyn Leases>,
    pub(super) clock: SharedClock,
    pub(super) telemetry: Telemetry,
}

/// What came of asking for a turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Turn {
    Done,
    /// Another daemon is at work, or the next turn is not due yet.
    NotNow,
    /// Another daemon took over in the middle: this one had stood still, or could not reach the state store.
    Lost,
}

impl Duty {
    /// How often to ask for a turn.
    pub(super) fn look(&self) -> Duration {
        self.every.min(SIGN)
    }

    /// Does the work, if it is due and nobody else is at it. When the lease is lost, the work ends where it is.
    pub(super) async fn turn(&self, work: impl Future<Output = ()>) -> Result<Turn, StateError> {
        let begun = self.clock.now();
        let Some(lease) = self.leases.lease(self.name, begun, begun + TERM).await? else { return Ok(Turn::NotNow) };
        tokio::select! {
            () = work => {}
            () = self.until_lost(&lease) => return Ok(Turn::Lost),
        }
        // A turn that took longer than its interval makes the next one due at once.
        let kept = self.leases.prolong(&lease, begun + self.every).await?;
        Ok(if kept { Turn::Done } else { Turn::Lost })
    }

    async fn until_lost(&self, lease: &Lease) {
        loop {
            tokio::time::sleep(SIGN).await;
            match self.leases.prolong(lease, self.clock.now() + TERM).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.telemetry.state_failed("prolong the lease of a duty", &error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use time::OffsetDateTime;
    use time::macros::datetime;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::runtime::Clock;
    use crate::state::memory::MemoryState;

    /// Goes with the paused time of the test.
    struct Paused(Instant);

    impl Clock for Paused {
        fn now(&self) -> OffsetDateTime {
            datetime!(2026-01-15 9:00 UTC) + self.0.elapsed()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn daemons<const N: usize>() -> [Duty; N] {
        let leases: Arc<dyn Leases> = Arc::new(MemoryState::new());
        let clock: SharedClock = Arc::new(Paused(Instant::now()));
        std::array::from_fn(|_| Duty {
            name: "test",
            every: HOUR,
            leases: leases.clone(),
            clock: clock.clone(),
            telemetry: Telemetry::new(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn many_daemons_do_it_once_an_interval() {
        let daemons = daemons::<3>();
        let (turns, at_work) = (AtomicU32::new(0), AtomicU32::new(0));
        let work = || async {
            assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two are at work");
            sleep(Duration::from_secs(600)).await;
            at_work.fetch_sub(1, Ordering::SeqCst);
            turns.fetch_add(1, Ordering::SeqCst);
        };
        let live = async |duty: &Duty| {
            loop {
                sleep(duty.look()).await;
                assert_ne!(duty.turn(work()).await.unwrap(), Turn::Lost);
            }
        };
        let all = futures_util::future::join_all(daemons.iter().map(live));
        assert!(tokio::time::timeout(HOUR * 10 + Duration::from_secs(900), all).await.is_err());
        assert_eq!(turns.into_inner(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn another_goes_on_where_one_died() {
        let [dead, heir] = daemons();
        let died = tokio::time::timeout(Duration::from_secs(300), dead.turn(std::future::pending())).await;
        assert!(died.is_err());
        assert_eq!(heir.turn(async {}).await.unwrap(), Turn::NotNow);
        sleep(TERM).await;
        assert_eq!(heir.turn(async {}).await.unwrap(), Turn::Done);
        assert_eq!(heir.turn(async {}).await.unwrap(), Turn::NotNow);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stood_still_stops_when_it_is_told() {
        let [slow, heir] = daemons();
        let stolen = async {
            // No sign of life came through for longer than a term.
            let now = slow.clock.now() + 2 * TERM;
            slow.leases.lease(slow.name, now, now + TERM).await.unwrap().expect("the lease has ended by then");
            std::future::pending::<()>().await;
        };
        assert_eq!(slow.turn(stolen).await.unwrap(), Turn::Lost);
        assert_eq!(heir.turn(async {}).await.unwrap(), Turn::NotNow);
    }
}
