//! The real catalog with the faults of a storm: calls that fail, are slow, arrive late or lose their answer, and others that
//! commit in between.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::snapshot::Change;
use super::{Head, IcebergCatalog};
use crate::lake::catalog::{Catalog, CatalogError, Outcome, Wanted};
use crate::lake::contract::Readable;
use crate::lake::memory::{Call, Fault};
use crate::lake::rows::Rows;
use crate::lake::storm_tests::{Faults, Stormy};
use crate::model::RowId;
use crate::state::CommitId;

pub(super) struct Faulty {
    catalog: IcebergCatalog,
    faults: Mutex<Option<Faults>>,
    late: Mutex<Vec<(Head, Change)>>,
}

impl Faulty {
    pub(super) fn new(catalog: IcebergCatalog) -> Faulty {
        Faulty { catalog, faults: Mutex::default(), late: Mutex::default() }
    }

    fn fault(&self, call: Call, table: &str) -> Fault {
        self.faults.lock().unwrap().as_mut().map(|faults| faults(call, table)).unwrap_or_default()
    }

    /// `false`: the answer is lost.
    async fn passes(&self, call: Call, table: &str) -> bool {
        match self.fault(call, table) {
            Fault::None | Fault::Conflict | Fault::Gate(_) => true,
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                true
            }
            Fault::Fail | Fault::LoseAnswer | Fault::Late => false,
        }
    }

    /// Somebody else changes the table.
    async fn overtake(&self, head: &Head) {
        let table = self.catalog.table(&head.id).await.unwrap().unwrap();
        let builder = table.metadata().clone().into_builder(table.metadata_location().map(str::to_owned));
        let changed = HashMap::from([("changed".to_owned(), super::snapshot::unique())]);
        let next = builder.set_properties(changed).unwrap().build().unwrap();
        self.catalog.swap(&head.id, &table, next).await.unwrap();
    }
}

fn lost(call: Call) -> CatalogError {
    CatalogError(format!("{call:?} was made to fail"))
}

#[async_trait]
impl Catalog for Faulty {
    type Head = Head;
    type Staged = Change;

    async fn load(&self, table: &str) -> Result<Head, CatalogError> {
        if self.passes(Call::Load, table).await { self.catalog.load(table).await } else { Err(lost(Call::Load)) }
    }

    async fn find(&self, head: &Head, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError> {
        let passes = self.passes(Call::Find, &head.id.name).await;
        if passes { self.catalog.find(head, wanted).await } else { Err(lost(Call::Find)) }
    }

    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Change, CatalogError> {
        let passes = self.passes(Call::Stage, table).await;
        if passes { self.catalog.stage(table, commit, rows).await } else { Err(lost(Call::Stage)) }
    }

    async fn commit(&self, head: &Head, staged: &Change) -> Result<Outcome, CatalogError> {
        match self.fault(Call::Commit, &head.id.name) {
            Fault::None | Fault::Gate(_) => {}
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Fail => return Err(lost(Call::Commit)),
            Fault::Conflict => self.overtake(head).await,
            Fault::LoseAnswer => {
                self.catalog.commit(head, staged).await?;
                return Err(lost(Call::Commit));
            }
            Fault::Late => {
                self.late.lock().unwrap().push((head.clone(), staged.clone()));
                return Err(lost(Call::Commit));
            }
        }
        self.catalog.commit(head, staged).await
    }
}

#[async_trait]
impl Readable for Faulty {
    async fn row_ids(&self, table: &str) -> Vec<RowId> {
        self.catalog.row_ids(table).await
    }
}

#[async_trait]
impl Stormy for Faulty {
    fn fail_as(&self, faults: Faults) {
        *self.faults.lock().unwrap() = Some(faults);
    }

    async fn arrive(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for (head, staged) in late {
            self.catalog.commit(&head, &staged).await.unwrap();
        }
    }
}
