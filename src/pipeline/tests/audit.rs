//! The copy of the ledger in the lake: every outcome once, whatever becomes of a commit.

use super::super::{audit, tell_health};
use super::*;
use crate::lake::Finding;
use crate::lake::families::{DATA_AUDIT, SOURCE_HEALTH};
use crate::model::Value;
use crate::pipeline::Parked;
use crate::state::Upkeep;

impl World {
    /// A round, with the lake committing whenever it can.
    async fn audit(&self) -> Result<usize, String> {
        let commits = async {
            loop {
                // What fails is told to those who wait for it.
                let _ = self.lake.flush().await;
                tokio::task::yield_now().await;
            }
        };
        let shutdown = CancellationToken::new();
        tokio::select! {
            copied = audit(&self.pipeline, Duration::ZERO, &shutdown) => copied,
            () = commits => unreachable!("it goes on for ever"),
        }
    }

    /// Key and state of each row, in the order in which objects ended.
    fn audited(&self) -> Vec<String> {
        let text = |row: &crate::model::Event, name: &str| row.fields.get(name).unwrap().as_str().unwrap().to_owned();
        let rows = self.catalog.rows(&DATA_AUDIT.table(""));
        rows.iter().map(|row| text(row, "key") + " " + &text(row, "state")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_once() {
    let world = world().await;
    assert_eq!(world.audit().await, Ok(0));
    world.announce("okta/a", logins(2));
    world.handle(1).await;
    world.announce("okta/old/b", logins(1));
    world.handle(1).await;
    let refused = world.announce("okta/c", logins(1));
    world.store.forbid("b", "okta/c");
    world.look_until_patience_ends(&refused).await;

    let expected = ["okta/a committed", "okta/old/b excluded", "okta/c parked"];
    assert_eq!(world.audit().await, Ok(3));
    assert_eq!(world.audited(), expected);
    assert_eq!(world.audit().await, Ok(0));
    let row = &world.catalog.rows(&DATA_AUDIT.table(""))[0];
    let number = |name: &str| row.fields.get(name).unwrap().clone();
    assert_eq!(
        (number("events"), number("failures"), number("attempts")),
        (Value::Int(2), Value::Int(0), Value::Int(1))
    );

    // What ends again is told again.
    world.store.put("b", "okta/c", logins(1));
    let shutdown = CancellationToken::new();
    let mut parked = Parked::default();
    let flushes = async {
        loop {
            world.lake.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        replayed = parked.replay(&world.pipeline, &shutdown) => replayed.unwrap(),
        () = flushes => {}
    }
    assert_eq!(world.audit().await, Ok(1));
    assert_eq!(world.audited().last().unwrap(), "okta/c committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_answer_is_lost_is_not_repeated() {
    let world = world().await;
    world.announce("okta/a", logins(1));
    world.handle(1).await;
    world.catalog.inject_next(Call::Commit, [Fault::LoseAnswer]);
    assert!(world.audit().await.is_err());
    assert_eq!(world.audited(), ["okta/a committed"]);
    world.audit().await.unwrap();
    assert_eq!(world.audited(), ["okta/a committed"]);
    world.announce("okta/b", logins(1));
    world.handle(1).await;
    assert_eq!(world.audit().await, Ok(1));
    assert_eq!(world.audited(), ["okta/a committed", "okta/b committed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_shutdown_finds_gives_up_its_claim() {
    let world = world().await;
    world.announce("okta/a", logins(1));
    world.handle(1).await;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    assert_eq!(audit(&world.pipeline, Duration::ZERO, &shutdown).await, Ok(0));
    assert_eq!(world.audited(), [""; 0]);
    // Who comes next need not wait for the end of a lease.
    assert_eq!(world.audit().await, Ok(1));
    assert_eq!(world.audited(), ["okta/a committed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_has_forgotten_is_not_told_again() {
    let world = world().await;
    let refused = world.announce("okta/c", logins(1));
    world.store.forbid("b", "okta/c");
    world.look_until_patience_ends(&refused).await;
    assert_eq!(world.audit().await, Ok(1));
    // Long after: what is parked is still known, and how far the copy had come is not.
    let now = world.pipeline.clock.now();
    assert_eq!(world.state.forget_objects(now, 100).await.unwrap(), 1);
    assert_eq!(world.audit().await, Ok(0));
    assert_eq!(world.audited(), ["okta/c parked"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_examination_finds_is_told() {
    let world = world().await;
    let finding = |verdict: &'static str| Finding {
        source: "logs".into(),
        check: "bucket",
        verdict,
        message: "said".into(),
        fix: None,
    };
    for findings in [[finding("healthy"), finding("failed")], [finding("warning"), finding("healthy")]] {
        let commits = async {
            loop {
                world.lake.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            told = tell_health(&world.pipeline, &findings) => told.unwrap(),
            () = commits => {}
        }
    }
    let rows = world.catalog.rows(&SOURCE_HEALTH.table(""));
    let verdicts: Vec<&str> = rows.iter().map(|row| row.fields.get("verdict").unwrap().as_str().unwrap()).collect();
    assert_eq!(verdicts, ["healthy", "failed", "warning", "healthy"]);
}
