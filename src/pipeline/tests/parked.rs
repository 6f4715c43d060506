//! Parked objects: read when their source can be, once, whatever stands beside them.

use serde_json::json;

use super::super::Parked;
use super::*;

impl World {
    /// Objects of these keys that are refused, and parked.
    async fn parked(&self, keys: impl IntoIterator<Item = String>) -> Vec<ObjectRef> {
        let mut objects = Vec::new();
        for key in keys {
            let object = self.announce(&key, logins(1));
            self.store.forbid("b", &key);
            self.look_until_patience_ends(&object).await;
            assert_eq!(self.state_of(&object).await, Some(ObjectState::Parked));
            objects.push(object);
        }
        objects
    }

    async fn replay(&self, parked: &mut Parked) {
        let commits = async {
            loop {
                self.lake.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let shutdown = CancellationToken::new();
        tokio::select! {
            result = parked.replay(&self.pipeline, &shutdown) => result.unwrap(),
            () = commits => {}
        }
    }

    fn grant(&self, object: &ObjectRef) {
        self.store.put("b", &object.key, logins(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_objects_are_read_when_their_source_can_be() {
    let world = world().await;
    let objects = world.parked(["okta/a".into(), "okta/b".into()]).await;
    world.replay(&mut Parked::default()).await;
    for object in &objects {
        assert_eq!(world.state_of(object).await, Some(ObjectState::Parked));
        world.grant(object);
    }
    world.replay(&mut Parked::default()).await;
    for object in &objects {
        assert_eq!(world.state_of(object).await, Some(ObjectState::Committed));
    }
}

#[tokio::test]
async fn many_that_stay_refused_do_not_hide_one_that_can_be_read() {
    let world = world().await;
    let mut objects = world.parked((0..23).map(|n| format!("okta/{n}"))).await;
    objects.sort_by_key(ObjectRef::id);
    // Behind two full looks.
    let readable = objects.pop().unwrap();
    world.grant(&readable);
    let mut parked = Parked::default();
    for turn in 1..=3 {
        world.replay(&mut parked).await;
        let expected = if turn < 3 { ObjectState::Parked } else { ObjectState::Committed };
        assert_eq!(world.state_of(&readable).await, Some(expected), "turn {turn}");
        // It was refused: the next turn of the source is later.
        world.replay(&mut parked).await;
        assert_eq!(world.state_of(&readable).await, Some(expected), "turn {turn}, before its time");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(3600)).await;
        tokio::time::resume();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_parked_by_its_key_alone_is_read_once_and_parked_no_more() {
    let world = world().await;
    let object = world.store.put("b", "okta/a", logins(1));
    world.store.forbid("b", "okta/a");
    for _ in 0..3 {
        world.queue.send(json!({ "s3Bucket": "b", "s3ObjectKey": ["okta/a"] }).to_string());
        world.handle(1).await;
    }
    let unnamed = ObjectRef { etag: None, size: None, ..object.clone() };
    assert_eq!(world.state_of(&unnamed).await, Some(ObjectState::Parked));
    world.grant(&object);
    world.replay(&mut Parked::default()).await;
    assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    let outcome = world.state.outcome(unnamed.id()).await.unwrap().unwrap();
    assert_eq!((outcome.state, &*outcome.reason), (ObjectState::Superseded, "read as s3://b/okta/a"));
    assert_eq!(world.rows().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_daemon_in_the_middle_of_one_is_no_crash_of_it() {
    let world = world().await;
    let objects = world.parked(["okta/a".into(), "okta/b".into()]).await;
    for object in &objects {
        world.grant(object);
    }
    let shutdown = CancellationToken::new();
    let (pipeline, asked) = (world.pipeline.clone(), shutdown.clone());
    let replay = async move { Parked::default().replay(&pipeline, &asked).await };
    let replay = crate::runtime::Tasks::new().spawn(replay);
    while world.lake.buffered_rows() == 0 {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    // The grace period passes here: the lake never commits.
    world.pipeline.abandon.cancel();
    replay.await.unwrap().unwrap();

    let now = crate::runtime::Clock::now(&SystemClock);
    let mut begun = 0;
    for object in &objects {
        let claim = world.state.claim(object, "logs", None, now, now + LEASE).await.unwrap();
        let Claim::Granted(_, attempts) = claim else { panic!("{claim:?}") };
        assert_eq!(attempts.crashed, 0);
        begun += attempts.given_up_for("shutdown");
    }
    assert_eq!(begun, 1, "the other was not begun");
}
