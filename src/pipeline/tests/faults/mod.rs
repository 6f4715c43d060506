//! The pipeline under seeded faults at every port, with an oracle. One seed is one run: paused time, one thread, and
//! every fault a roll of the same dice, so that a seed that fails can be looked at again.
//!
//! `world` is what outlives a daemon (queue, store, state, catalog) with the dice and the trace, `content` what is in
//! the bucket, `life` one daemon from its start to its crash or end, `ports`, `state` and `bodies` what it sees of the
//! world, and `oracle` what must hold: at each step, at each acknowledgement, and when everything has drained.
//!
//! A failure prints its seed, its trace and the command that runs it alone.

mod backlog;
mod bodies;
mod content;
mod life;
mod oracle;
mod ports;
mod producer;
mod state;
mod world;

use std::sync::Arc;
use std::time::Duration;

use self::world::World;

/// Of the normal test command.
const SEEDS: u64 = 1_000;

/// Everything must have drained so long after the faults have stopped.
const DRAINED_WITHIN: Duration = Duration::from_secs(3 * 3600);

#[expect(clippy::disallowed_methods, reason = "how many seeds a test runs is no configuration of a module")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not `{text}`")))
}

#[test]
fn every_record_of_an_acknowledged_object_is_kept_once_whatever_fails() {
    if let Some(seed) = number("MARGAY_FAULT_SEED") {
        eprintln!("{}", run(seed).unwrap_or_else(|report| panic!("{report}")));
        return;
    }
    let seeds = number("MARGAY_FAULT_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    std::thread::scope(|scope| {
        let share = |first| move || (first..seeds).step_by(threads as usize).find_map(|seed| run(seed).err());
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(share(first))).collect();
        for thread in running {
            if let Some(report) = thread.join().unwrap() {
                panic!("{report}");
            }
        }
    });
}

#[test]
fn a_seed_repeats_itself() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

/// The trace of a run in which everything held, or what did not, with the trace.
fn run(seed: u64) -> Result<String, String> {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(seed));
        let tasks = world.others.clone();
        for slot in 0..world.daemons {
            tasks.spawn(life::keep_alive(world.clone(), slot));
        }
        let produced = tasks.spawn(producer::produce(world.clone()));
        tokio::time::sleep(world.stormy).await;
        produced.await.unwrap();
        world.calm();
        let drained = match drain(&world).await {
            true => {
                world.announce_what_can_be_tried_again().await;
                drain(&world).await
            }
            false => false,
        };
        tasks.crash();
        if drained {
            world.check_the_end().await;
        } else {
            world.violated(format!(
                "after {DRAINED_WITHIN:?} without faults the queue still holds {} messages",
                world.queue.len()
            ));
        }
        world.report()
    })
}

/// False when it takes too long.
async fn drain(world: &World) -> bool {
    let started = tokio::time::Instant::now();
    while !world.queue.is_empty() {
        if started.elapsed() > DRAINED_WITHIN {
            return false;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    true
}
