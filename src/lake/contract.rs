//! What every catalog is held to: functions over the port, each given an empty catalog.
//!
//! An adapter runs them all with `catalog_contract_tests!(open)`, where `open().await` gives the catalog. A function that is
//! missing in the list below is dead code, which the lints refuse.

use std::sync::Arc;

use time::OffsetDateTime;

use super::catalog::{Catalog, Outcome, Wanted};
use super::rows::{Rows, Slice};
use crate::model::{Event, EventBatch, MapBuilder, ObjectId, Position, RowId};
use crate::state::CommitId;

macro_rules! catalog_contract_tests {
    ($open:path) => {
        $crate::lake::contract::catalog_contract_tests!($open;
            a_commit_shows_its_rows_and_can_be_found,
            staged_rows_are_in_no_table,
            a_head_that_is_not_the_last_is_refused,
            one_of_many_commits_on_a_head_succeeds,
            an_older_head_knows_nothing_of_later_commits,
            tables_are_apart,
        );
    };
    ($open:path; $($test:ident,)*) => {
        $(#[tokio::test]
        async fn $test() {
            $crate::lake::contract::$test(&$open().await).await;
        })*
    };
}
pub(super) use catalog_contract_tests;

/// What the suite needs beside the port.
#[async_trait::async_trait]
pub(super) trait Readable: Catalog {
    /// The rows of a table, sorted.
    async fn row_ids(&self, table: &str) -> Vec<RowId>;
}

const TABLE: &str = "AWS.CloudTrail";

fn id(n: u8) -> CommitId {
    CommitId([n; 16])
}

fn row_id(n: u64) -> RowId {
    RowId::new(ObjectId([1; 16]), n, 0)
}

fn rows(ordinals: std::ops::Range<u64>) -> Rows {
    let picked = (0..(ordinals.end - ordinals.start) as usize).collect();
    let event = |ordinal| Event {
        log_type: TABLE.into(),
        row_id: row_id(ordinal),
        position: Position { ordinal, index: 0 },
        time: OffsetDateTime::UNIX_EPOCH,
        fields: MapBuilder::default().build(),
    };
    let batch = EventBatch {
        object: ObjectId([1; 16]),
        source: "s".into(),
        events: ordinals.map(event).collect(),
        rejects: Vec::new(),
        bytes: 1,
    };
    [Slice::new(Arc::new(batch), picked)].into_iter().collect()
}

fn sorted(ordinals: std::ops::Range<u64>) -> Vec<RowId> {
    let mut ids: Vec<RowId> = ordinals.map(row_id).collect();
    ids.sort();
    ids
}

async fn found<C: Catalog>(catalog: &C, head: &C::Head, ids: &[u8]) -> Vec<CommitId> {
    let wanted = |n: &u8| Wanted { commit: id(*n), since: OffsetDateTime::UNIX_EPOCH };
    let wanted: Vec<Wanted> = ids.iter().map(wanted).collect();
    let mut found = catalog.find(head, &wanted).await.unwrap();
    found.sort();
    found
}

async fn commit<C: Catalog>(catalog: &C, table: &str, n: u8, ordinals: std::ops::Range<u64>) {
    let staged = catalog.stage(table, id(n), &rows(ordinals)).await.unwrap();
    let head = catalog.load(table).await.unwrap();
    assert_eq!(catalog.commit(&head, &staged).await.unwrap(), Outcome::Committed);
}

pub(super) async fn a_commit_shows_its_rows_and_can_be_found<C: Readable>(catalog: &C) {
    commit(catalog, TABLE, 1, 0..3).await;
    commit(catalog, TABLE, 2, 3..5).await;
    assert_eq!(catalog.row_ids(TABLE).await, sorted(0..5));
    let head = catalog.load(TABLE).await.unwrap();
    assert_eq!(found(catalog, &head, &[1, 2, 3]).await, [id(1), id(2)]);
    assert!(found(catalog, &head, &[]).await.is_empty());
}

pub(super) async fn staged_rows_are_in_no_table<C: Readable>(catalog: &C) {
    let staged = catalog.stage(TABLE, id(1), &rows(0..3)).await.unwrap();
    let head = catalog.load(TABLE).await.unwrap();
    assert!(catalog.row_ids(TABLE).await.is_empty());
    assert!(found(catalog, &head, &[1]).await.is_empty());
    drop(staged);
}

pub(super) async fn a_head_that_is_not_the_last_is_refused<C: Readable>(catalog: &C) {
    let staged = catalog.stage(TABLE, id(1), &rows(0..3)).await.unwrap();
    let head = catalog.load(TABLE).await.unwrap();
    commit(catalog, TABLE, 2, 3..5).await;
    for _ in 0..2 {
        assert_eq!(catalog.commit(&head, &staged).await.unwrap(), Outcome::Conflict);
    }
    assert_eq!(catalog.row_ids(TABLE).await, sorted(3..5));
    let head = catalog.load(TABLE).await.unwrap();
    assert_eq!(found(catalog, &head, &[1, 2]).await, [id(2)]);
    // What was staged is good for another head.
    assert_eq!(catalog.commit(&head, &staged).await.unwrap(), Outcome::Committed);
    assert_eq!(catalog.commit(&head, &staged).await.unwrap(), Outcome::Conflict, "a head is good for one commit");
    assert_eq!(catalog.row_ids(TABLE).await, sorted(0..5));
}

pub(super) async fn one_of_many_commits_on_a_head_succeeds<C: Readable>(catalog: &C) {
    let head = catalog.load(TABLE).await.unwrap();
    let mut staged = Vec::new();
    for n in 0..4 {
        staged.push(catalog.stage(TABLE, id(n), &rows(u64::from(n)..u64::from(n) + 1)).await.unwrap());
    }
    let outcomes = futures_util::future::join_all(staged.iter().map(|staged| catalog.commit(&head, staged))).await;
    let committed = outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap() == &Outcome::Committed);
    assert_eq!(committed.count(), 1);
    assert_eq!(catalog.row_ids(TABLE).await.len(), 1);
}

pub(super) async fn an_older_head_knows_nothing_of_later_commits<C: Readable>(catalog: &C) {
    commit(catalog, TABLE, 1, 0..1).await;
    let older = catalog.load(TABLE).await.unwrap();
    commit(catalog, TABLE, 2, 1..2).await;
    assert_eq!(found(catalog, &older, &[1, 2]).await, [id(1)]);
}

pub(super) async fn tables_are_apart<C: Readable>(catalog: &C) {
    let head = catalog.load(TABLE).await.unwrap();
    commit(catalog, "Okta.SystemLog", 1, 0..1).await;
    assert!(found(catalog, &head, &[1]).await.is_empty());
    let staged = catalog.stage(TABLE, id(2), &rows(1..2)).await.unwrap();
    assert_eq!(catalog.commit(&head, &staged).await.unwrap(), Outcome::Committed);
    assert_eq!(catalog.row_ids(TABLE).await, sorted(1..2));
    assert_eq!(catalog.row_ids("Okta.SystemLog").await, sorted(0..1));
}
