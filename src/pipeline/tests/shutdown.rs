//! The end of the daemon as messages see it: nothing is asked for any more, what ends in time is committed, the rest is
//! visible again at once, and nothing of it has an outcome.

use super::*;
use crate::runtime::Tasks;

/// Starts the intake and waits until it has dealt with one message and polls for the next.
async fn polling(world: &World) -> Tasks {
    let tasks = Tasks::new();
    world.announce("elsewhere/first", "x");
    tasks.spawn(super::super::run(world.pipeline.clone(), tasks.clone(), tasks.token().clone()));
    // The first poll brought the message, the second has begun.
    while !world.acknowledged() || world.queue.polls() < 2 {
        tokio::task::yield_now().await;
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_poll_brings_is_worked_on_and_no_other_is_made() {
    let world = world().await;
    let tasks = polling(&world).await;
    tasks.shut_down();
    let late = world.announce("okta/late", logins(1));
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    let later = world.announce("okta/later", logins(1));
    world.lake.flush().await.unwrap();
    assert!(tasks.drained(Duration::from_secs(60)).await);
    assert_eq!(world.state_of(&late).await, Some(ObjectState::Committed));
    assert_eq!(world.state_of(&later).await, None);
    assert_eq!((world.queue.len(), world.queue.in_flight()), (1, 0), "the later one was never received");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_ends_in_time_is_committed_after_the_shutdown_began() {
    let world = world().await;
    let tasks = polling(&world).await;
    let object = world.announce("okta/a", logins(3));
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    tasks.shut_down();
    world.lake.flush().await.unwrap();
    assert!(tasks.drained(Duration::from_secs(60)).await);
    assert!(world.acknowledged());
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    assert_eq!(world.rows().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_does_not_end_in_time_is_given_up_without_an_outcome_or_a_row() {
    let world = world().await;
    let tasks = polling(&world).await;
    let object = world.announce("okta/a", logins(3));
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    tasks.shut_down();
    // The grace period passes here: the lake never commits.
    world.pipeline.abandon.cancel();
    assert!(tasks.drained(Duration::from_secs(60)).await);
    assert_eq!((world.queue.len(), world.queue.in_flight()), (1, 0), "it is there, and visible");
    assert_eq!(world.state_of(&object).await, None);
    assert!(world.rows().is_empty());

    // The next daemon may begin at once, and does not take this for a crash.
    let now = crate::runtime::Clock::now(&SystemClock);
    let claim = world.state.claim(&object, "logs", None, now, now + LEASE).await.unwrap();
    let Claim::Granted(_, attempts) = claim else { panic!("{claim:?}") };
    assert_eq!((attempts.crashed, attempts.given_up_for("shutdown")), (0, 1));
}
