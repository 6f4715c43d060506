//! Queue and catalog as one daemon sees them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::life::Life;
use super::world::Fault;
use crate::lake::Rows;
use crate::lake::catalog::{Catalog, CatalogError, Outcome, Wanted};
use crate::lake::memory::{MemoryFile, MemoryHead};
use crate::queue::{Backlog, Delivery, MessageQueue, QueueError, Receipt};
use crate::state::CommitId;

/// A call of a port: it may be refused, take long, or be applied and answered with an error; the process may die before
/// it is applied or before it hears of it.
pub(super) async fn call<T, E>(
    life: &Life,
    what: &str,
    (refused, answer_lost): (Fault, Fault),
    error: impl Fn(String) -> E,
    apply: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    life.step(what).await;
    if life.world.happens(refused) {
        life.note(format!("{what} is refused"));
        return Err(error(format!("{what} is refused")));
    }
    let lost = life.world.happens(answer_lost);
    let result = apply.await;
    life.note(format!("{what}{}", if result.is_ok() { "" } else { " fails" }));
    life.step(what).await;
    if lost {
        life.note(format!("the answer to {what} is lost"));
        return Err(error(format!("the answer to {what} is lost")));
    }
    result
}

pub(super) struct QueueView(pub(super) Arc<Life>);

impl QueueView {
    async fn call<T>(&self, what: &str, apply: impl Future<Output = Result<T, QueueError>>) -> Result<T, QueueError> {
        call(&self.0, what, (Fault::QueueRefuses, Fault::QueueAnswerLost), QueueError::Unavailable, apply).await
    }
}

#[async_trait]
impl MessageQueue for QueueView {
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, QueueError> {
        let world = &self.0.world;
        let mut deliveries = self.call("receive", world.queue.receive(max)).await?;
        if world.happens(Fault::Reorder) {
            world.dice().shuffle(&mut deliveries);
        }
        for delivery in &deliveries {
            self.0.note(format!("has {}", delivery.receipt.0));
            if world.happens(Fault::Redelivery) {
                // Somebody else gets it, too.
                self.0.note(format!("{} is delivered again", delivery.message.id));
                world.queue.release(Receipt(delivery.receipt.0.clone()), Duration::ZERO).await.ok();
            }
        }
        Ok(deliveries)
    }

    async fn extend(&self, receipt: &Receipt, lease: Duration) -> Result<(), QueueError> {
        self.call(&format!("extend {}", receipt.0), self.0.world.queue.extend(receipt, lease)).await
    }

    async fn acknowledge(&self, receipt: Receipt) -> Result<(), QueueError> {
        let (world, text) = (&self.0.world, receipt.0.clone());
        let apply = async {
            world.check_acknowledgement(&text).await;
            world.queue.acknowledge(receipt).await
        };
        self.call(&format!("acknowledge {text}"), apply).await
    }

    async fn release(&self, receipt: Receipt, delay: Duration) -> Result<(), QueueError> {
        let text = format!("release {} for {delay:?}", receipt.0);
        self.call(&text, self.0.world.queue.release(receipt, delay)).await
    }

    async fn backlog(&self) -> Result<Backlog, QueueError> {
        self.call("backlog", self.0.world.queue.backlog()).await
    }
}

pub(super) struct CatalogView(pub(super) Arc<Life>);

impl CatalogView {
    async fn call<T>(
        &self,
        what: &str,
        apply: impl Future<Output = Result<T, CatalogError>>,
    ) -> Result<T, CatalogError> {
        call(&self.0, what, (Fault::CatalogRefuses, Fault::CatalogAnswerLost), CatalogError, apply).await
    }
}

#[async_trait]
impl Catalog for CatalogView {
    type Head = MemoryHead;
    type Staged = Arc<MemoryFile>;

    async fn load(&self, table: &str) -> Result<MemoryHead, CatalogError> {
        self.call(&format!("load {table}"), self.0.world.catalog.load(table)).await
    }

    async fn find(&self, head: &MemoryHead, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError> {
        self.call("look for commits", self.0.world.catalog.find(head, wanted)).await
    }

    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Arc<MemoryFile>, CatalogError> {
        self.call(&format!("stage for {table}"), self.0.world.catalog.stage(table, commit, rows)).await
    }

    async fn commit(&self, head: &MemoryHead, staged: &Arc<MemoryFile>) -> Result<Outcome, CatalogError> {
        let world = &self.0.world;
        if world.happens(Fault::CommitIsLate) {
            let (world, head, staged) = (world.clone(), head.clone(), staged.clone());
            let after = Duration::from_millis(world.dice().u64(..200_000));
            self.0.note(format!("a commit arrives only in {after:?}"));
            world.clone().others.spawn(async move {
                tokio::time::sleep(after).await;
                let outcome = world.catalog.commit(&head, &staged).await;
                world.note(format!("a late commit arrives: {outcome:?}"));
            });
            return Err(CatalogError("no answer to a commit".into()));
        }
        let apply = async {
            let outcome = world.catalog.commit(head, staged).await;
            self.0.note(format!("commit: {outcome:?}"));
            outcome
        };
        self.call("commit", apply).await
    }
}
