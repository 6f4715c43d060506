//! Many owners, a catalog that fails in every way, requests that arrive late, crashes and takeovers at any moment: in the
//! end every row is in its table once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::contract::Readable;
use super::families::{RULE_MATCHES, SIGNALS};
use super::memory::{Call, Fault, MemoryCatalog};
use super::tests::{LEASE, OKTA, Owner, START, TRAIL, World, batch, ids, limits, object};
use super::{Beside, CommitTicket, Lake, LakeError};
use crate::model::{EventBatch, Match, ObjectId, RowId};
use crate::runtime::Tasks;
use crate::state::{Claim, ClaimToken, Ledger, ObjectOutcome, ObjectState, Placed, fixtures};

const KEYS: [&str; 3] = ["a", "b", "c"];
const ROWS: u64 = 12;
const STEPS: u32 = 40;

/// A catalog that fails as it is told.
#[async_trait::async_trait]
pub(super) trait Stormy: Readable {
    /// From now on, each call asks first what happens to it.
    fn fail_as(&self, faults: Faults);

    /// Commits that were on their way arrive now.
    async fn arrive(&self);
}

pub(super) type Faults = Box<dyn FnMut(Call, &str) -> Fault + Send>;

#[async_trait::async_trait]
impl Stormy for MemoryCatalog {
    fn fail_as(&self, faults: Faults) {
        self.inject(faults);
    }

    async fn arrive(&self) {
        self.deliver_late();
    }
}

/// One attempt to take an object into the lake, by one of the owners. It does not notice when it is no longer the last.
struct Reading {
    owner: usize,
    token: ClaimToken,
    next: u64,
    tickets: Vec<CommitTicket>,
}

/// Numbers that the seed decides (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn table_of(object: ObjectId, ordinal: u64) -> &'static str {
    if (ordinal + u64::from(object.0[0])).is_multiple_of(3) { OKTA } else { TRAIL }
}

/// Two rules, which match some events both.
const RULES: [u64; 2] = [2, 3];

fn matches(rule: u64, ordinal: u64) -> bool {
    ordinal.is_multiple_of(rule)
}

/// A batch and what rules find in it, as the pipeline appends them.
async fn append_with_matches<C: Stormy>(
    owner: &Owner<C>,
    token: &ClaimToken,
    batch: Arc<EventBatch>,
) -> Result<[CommitTicket; 2], LakeError> {
    let rules = RULES.map(|rule| (rule, Arc::new(fixtures::rule(&rule.to_string()))));
    let found = batch.events.iter().flat_map(|event| {
        let of_event = rules.iter().filter(|(rule, _)| matches(*rule, event.position.ordinal));
        of_event.map(|(_, rule)| Match { row_id: event.row_id, ..fixtures::matched(rule, 0) })
    });
    let detections = fixtures::matches(found);
    let placed = Placed { alert_id: Some("a".into()), window_began: Some(START), recorded: START };
    let placed = vec![placed; detections.matches.len()];
    let first = owner.append(token, batch.clone()).await?;
    let found = Beside::Found { batch: &batch, detections: &detections, placed: &placed };
    Ok([first, owner.append_beside(token, found).await?])
}

struct Storm<C> {
    world: World<C>,
    owners: Vec<Owner<C>>,
    readings: Vec<Reading>,
    /// Flushes that go on while other things happen.
    flushes: Vec<JoinHandle<()>>,
    claims: i32,
    dice: Dice,
}

impl<C: Stormy> Storm<C> {
    async fn new(catalog: C, seed: u64) -> Storm<C> {
        let world = World::with(catalog).await;
        let owners = (0..3).map(|_| world.owner(limits())).collect();
        let mut dice = Dice(seed);
        world.catalog.fail_as(Box::new(move |call, _| match (dice.below(9), call) {
            (0, Call::Commit) => Fault::LoseAnswer,
            (1, Call::Commit) => Fault::Late,
            (2, Call::Commit) => Fault::Conflict,
            (3, _) if dice.below(3) == 0 => Fault::Fail,
            (4 | 5, _) => Fault::Delay(Duration::from_millis(dice.below(8))),
            _ => Fault::None,
        }));
        Storm { world, owners, readings: Vec::new(), flushes: Vec::new(), claims: 0, dice: Dice(!seed) }
    }

    async fn step(&mut self) {
        match self.dice.below(8) {
            0 | 1 => self.take_over().await,
            2..=4 => self.read_on().await,
            5 => {
                let owner = self.owners[self.dice.below(3) as usize].clone();
                self.flushes.push(Tasks::new().spawn(async move {
                    // What fails is told by the tickets.
                    let _ = owner.flush().await;
                }));
                if self.dice.below(2) == 0 {
                    tokio::time::sleep(Duration::from_millis(self.dice.below(6))).await;
                }
            }
            6 => {
                self.world.catalog.arrive().await;
            }
            _ => {
                // A flush of it that goes on is a request on the network, or a process that was only thought dead.
                let crashed = self.dice.below(3) as usize;
                self.owners[crashed] = self.world.owner(limits());
                self.readings.retain(|reading| reading.owner != crashed);
            }
        }
    }

    async fn take_over(&mut self) {
        let key = KEYS[self.dice.below(3) as usize];
        self.claims += 1;
        let now = START + LEASE * self.claims;
        if let Claim::Granted(token, _) =
            self.world.state.claim(&object(key), "logs", None, now, now + LEASE).await.unwrap()
        {
            let owner = self.dice.below(3) as usize;
            self.readings.push(Reading { owner, token, next: 0, tickets: Vec::new() });
        }
    }

    /// The next rows of some reading, or its end.
    async fn read_on(&mut self) {
        if self.readings.is_empty() {
            return;
        }
        let at = self.dice.below(self.readings.len() as u64) as usize;
        let mut reading = self.readings.swap_remove(at);
        let owner = self.owners[reading.owner].clone();
        if reading.next < ROWS {
            let end = (reading.next + 1 + self.dice.below(6)).min(ROWS);
            let rows = batch(&reading.token, reading.next..end, |ordinal| table_of(reading.token.object, ordinal));
            if let Ok(tickets) = append_with_matches(&owner, &reading.token, rows).await {
                reading.tickets.extend(tickets);
                reading.next = end;
                self.readings.push(reading);
            }
            return;
        }
        let _ = owner.flush().await;
        self.conclude(reading).await;
    }

    /// After a flush, so that no ticket waits for one. Whether the object is done.
    async fn conclude(&self, reading: Reading) -> bool {
        for ticket in reading.tickets {
            if ticket.committed().await.is_err() {
                return false;
            }
        }
        let outcome = ObjectOutcome::without_events(ObjectState::Committed, "");
        self.world.state.finish(&reading.token, &outcome, START).await.is_ok()
    }

    /// The faults are over; whoever is left takes every object that is not done.
    async fn calm(&mut self) {
        self.world.catalog.fail_as(Box::new(|_, _| Fault::None));
        let owner = self.world.owner(limits());
        for key in KEYS {
            // Flushes of others go on, and may overtake every attempt of one reading; the next tries again.
            let mut tries = 0;
            while !self.is_read(&owner, key).await {
                tries += 1;
                assert!(tries < 20, "{key} is done");
            }
        }
        // Those that don't know that it is over.
        for flush in self.flushes.drain(..) {
            flush.await.unwrap();
        }
        for owner in &self.owners {
            let _ = owner.flush().await;
        }
        self.world.catalog.arrive().await;
    }

    /// Reads an object to its end, unless it is done; whether it is.
    async fn is_read(&mut self, owner: &Owner<C>, key: &str) -> bool {
        self.claims += 1;
        let now = START + LEASE * self.claims;
        let claim = self.world.state.claim(&object(key), "logs", None, now, now + LEASE).await.unwrap();
        let Claim::Granted(token, _) = claim else { return true };
        let rows = batch(&token, 0..ROWS, |ordinal| table_of(token.object, ordinal));
        let tickets = append_with_matches(owner, &token, rows).await.unwrap().into();
        owner.flush().await.is_ok() && self.conclude(Reading { owner: 0, token, next: ROWS, tickets }).await
    }

    fn expected(&self) -> BTreeMap<Arc<str>, Vec<RowId>> {
        let mut tables: BTreeMap<Arc<str>, Vec<RowId>> = BTreeMap::new();
        for id in KEYS.map(|key| object(key).id()) {
            for ordinal in 0..ROWS {
                let (table, row) = (table_of(id, ordinal), ids(id, ordinal..ordinal + 1));
                tables.entry(table.into()).or_default().extend(&row);
                for _ in RULES.iter().filter(|rule| matches(**rule, ordinal)) {
                    tables.entry(RULE_MATCHES.table(table)).or_default().extend(&row);
                    tables.entry(SIGNALS.table(table)).or_default().extend(&row);
                }
            }
        }
        tables.values_mut().for_each(|ids| ids.sort());
        tables
    }
}

/// Every row is there once after it, whatever the seed.
pub(super) async fn weather<C: Stormy>(catalog: C, seed: u64) {
    let mut storm = Storm::new(catalog, seed).await;
    for _ in 0..STEPS {
        storm.step().await;
    }
    storm.calm().await;
    for (table, expected) in storm.expected() {
        assert_eq!(storm.world.catalog.row_ids(&table).await, expected, "{table} after storm {seed}");
    }
}

#[tokio::test]
async fn every_row_is_there_once_after_any_storm() {
    for seed in 0..40 {
        weather(MemoryCatalog::new(), seed).await;
    }
}
