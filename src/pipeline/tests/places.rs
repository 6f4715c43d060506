//! What an object holds while it waits for its rows: neither a place nor memory, of which there is enough for one here.

use super::*;
use crate::runtime::Tasks;

/// So many rows wait for the lake, which commits nothing by itself, and nothing else is held.
async fn waiting(world: &World, rows: usize) {
    let wait = async {
        while world.lake.buffered_rows() < rows || world.pipeline.budget.in_use() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the objects are read");
}

async fn ended(world: &World, tasks: &Tasks) {
    let commits = async {
        while !world.acknowledged() {
            world.lake.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), commits).await.expect("the objects are committed");
    tasks.shut_down();
    assert!(tasks.drained(Duration::from_secs(60)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_read_while_objects_wait_for_their_rows() {
    let world = world().await;
    let objects: Vec<ObjectRef> = (0..3).map(|n| world.announce(&format!("okta/{n}"), logins(2))).collect();
    let tasks = Tasks::new();
    tasks.spawn(super::super::run(world.pipeline.clone(), tasks.clone(), tasks.token().clone()));
    waiting(&world, 6).await;
    ended(&world, &tasks).await;
    for object in objects {
        assert_eq!(world.state_of(&object).await, Some(ObjectState::Committed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_object_of_a_message_waits_for_its_turn_and_gets_it() {
    let world = world().await;
    let put = |n: u8| world.store.put("b", &format!("okta/{n}"), logins(2).into_bytes());
    let (first, second) = (put(0), put(1));
    let keys = [&first, &second].map(|object| object.key.clone());
    world.queue.send(serde_json::json!({ "s3Bucket": "b", "s3ObjectKey": keys }).to_string());
    let tasks = Tasks::new();
    tasks.spawn(super::super::run(world.pipeline.clone(), tasks.clone(), tasks.token().clone()));
    waiting(&world, 2).await;
    ended(&world, &tasks).await;
    assert_eq!(world.rows().len(), 4);
}
