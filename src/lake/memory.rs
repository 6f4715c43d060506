//! The honest fake of a catalog: tables in memory that really conflict, and that can fail, lose an answer, be slow or be
//! late. It outlives whoever commits to it, as the real one outlives a daemon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::catalog::{Catalog, CatalogError, Outcome, Wanted};
use super::families::Family;
use super::rows::Rows;
use crate::model::{Event, RowId};
use crate::state::CommitId;

/// A call of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Load,
    Find,
    Stage,
    Commit,
}

/// What happens to a call.
#[derive(Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// It does nothing and says so.
    Fail,
    /// Somebody else moves the head just before a commit.
    Conflict,
    /// It is done and answered with an error.
    LoseAnswer,
    /// Answered with an error; a commit arrives only at [`MemoryCatalog::deliver_late`].
    Late,
    /// It is done after this time.
    Delay(Duration),
    /// It is done once the sender speaks or is gone.
    Gate(oneshot::Receiver<()>),
}

type Faults = Box<dyn FnMut(Call, &str) -> Fault + Send>;

#[derive(Default)]
pub struct MemoryCatalog(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    tables: BTreeMap<String, Vec<Arc<MemoryFile>>>,
    faults: Option<Faults>,
    late: Vec<(MemoryHead, Arc<MemoryFile>)>,
}

#[derive(Clone, Debug)]
pub struct MemoryHead {
    table: String,
    /// Commits in the table.
    version: usize,
}

/// The rows of one commit.
#[derive(Debug)]
pub struct MemoryFile {
    /// `None` is somebody else's commit.
    commit: Option<CommitId>,
    rows: Vec<Event>,
}

impl MemoryCatalog {
    pub fn new() -> MemoryCatalog {
        MemoryCatalog::default()
    }

    /// Asks `faults` before each call from now on, with the call and its table.
    pub fn inject(&self, faults: impl FnMut(Call, &str) -> Fault + Send + 'static) {
        self.lock().faults = Some(Box::new(faults));
    }

    /// The next `faulty` calls of this kind fail so, one after the other; then nothing does.
    pub fn inject_next(&self, call: Call, faulty: impl IntoIterator<Item = Fault>) {
        let mut faulty: std::collections::VecDeque<Fault> = faulty.into_iter().collect();
        self.inject(move |called, _| if called == call { faulty.pop_front().unwrap_or_default() } else { Fault::None });
    }

    /// The commits that were on their way arrive now, in their order.
    pub fn deliver_late(&self) -> Vec<Outcome> {
        let mut inner = self.lock();
        let late = std::mem::take(&mut inner.late);
        late.into_iter().map(|(head, file)| inner.commit(&head, file)).collect()
    }

    pub fn tables(&self) -> Vec<String> {
        self.lock().tables.keys().cloned().collect()
    }

    /// The rows of a table, in the order of their commits.
    pub fn rows(&self, table: &str) -> Vec<Event> {
        let inner = self.lock();
        inner.tables.get(table).into_iter().flatten().flat_map(|file| file.rows.iter().cloned()).collect()
    }

    /// The ids of all rows of the tables of a family, as often as they are there.
    pub fn row_ids_of(&self, family: &Family) -> Vec<RowId> {
        let inner = self.lock();
        let tables = inner.tables.iter().filter(|(name, _)| Family::of(name).0.namespace == family.namespace);
        let files = tables.flat_map(|(_, files)| files);
        files.flat_map(|file| file.rows.iter().map(|event| event.row_id)).collect()
    }

    /// The commits of a table in their order, without those of others.
    pub fn commits(&self, table: &str) -> Vec<CommitId> {
        self.lock().tables.get(table).into_iter().flatten().filter_map(|file| file.commit).collect()
    }

    /// Waits as the fault says; whether the call is done, and whether its answer arrives.
    async fn called(&self, call: Call, table: &str) -> Fate {
        let fault = self.lock().faults.as_mut().map(|faults| faults(call, table)).unwrap_or_default();
        match fault {
            Fault::None => Fate::Done,
            Fault::Fail => Fate::Failed,
            Fault::Conflict => Fate::Overtaken,
            Fault::LoseAnswer => Fate::AnswerLost,
            Fault::Late => Fate::Late,
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                Fate::Done
            }
            Fault::Gate(gate) => {
                // Whoever held the gate may be gone.
                let _ = gate.await;
                Fate::Done
            }
        }
    }

    /// A call that changes nothing: what is not done or not answered is all the same.
    async fn read<T>(
        &self,
        call: Call,
        table: &str,
        answer: impl FnOnce(&mut Inner) -> T + Send,
    ) -> Result<T, CatalogError> {
        match self.called(call, table).await {
            Fate::Done | Fate::Overtaken => Ok(answer(&mut self.lock())),
            Fate::Failed | Fate::AnswerLost | Fate::Late => Err(failed(call, table)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

enum Fate {
    Done,
    Failed,
    Overtaken,
    AnswerLost,
    Late,
}

fn failed(call: Call, table: &str) -> CatalogError {
    CatalogError(format!("{call:?} of {table} was made to fail"))
}

impl Inner {
    fn commit(&mut self, head: &MemoryHead, file: Arc<MemoryFile>) -> Outcome {
        let table = self.tables.entry(head.table.clone()).or_default();
        if table.len() != head.version {
            return Outcome::Conflict;
        }
        table.push(file);
        Outcome::Committed
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    type Head = MemoryHead;
    type Staged = Arc<MemoryFile>;

    async fn load(&self, table: &str) -> Result<MemoryHead, CatalogError> {
        self.read(Call::Load, table, |inner| {
            let version = inner.tables.entry(table.to_owned()).or_default().len();
            MemoryHead { table: table.to_owned(), version }
        })
        .await
    }

    async fn find(&self, head: &MemoryHead, wanted: &[Wanted]) -> Result<Vec<CommitId>, CatalogError> {
        self.read(Call::Find, &head.table, |inner| {
            let history = inner.tables.get(&head.table).into_iter().flatten().take(head.version);
            let found = history.filter_map(|file| file.commit);
            found.filter(|commit| wanted.iter().any(|wanted| wanted.commit == *commit)).collect()
        })
        .await
    }

    async fn stage(&self, table: &str, commit: CommitId, rows: &Rows) -> Result<Arc<MemoryFile>, CatalogError> {
        let file = MemoryFile { commit: Some(commit), rows: rows.iter().cloned().collect() };
        self.read(Call::Stage, table, |_| Arc::new(file)).await
    }

    async fn commit(&self, head: &MemoryHead, staged: &Arc<MemoryFile>) -> Result<Outcome, CatalogError> {
        let fate = self.called(Call::Commit, &head.table).await;
        let mut inner = self.lock();
        match fate {
            Fate::Done => Ok(inner.commit(head, staged.clone())),
            Fate::Overtaken => {
                let others = MemoryFile { commit: None, rows: Vec::new() };
                inner.tables.entry(head.table.clone()).or_default().push(Arc::new(others));
                Ok(inner.commit(head, staged.clone()))
            }
            Fate::AnswerLost => {
                inner.commit(head, staged.clone());
                Err(failed(Call::Commit, &head.table))
            }
            Fate::Late => {
                inner.late.push((head.clone(), staged.clone()));
                Err(failed(Call::Commit, &head.table))
            }
            Fate::Failed => Err(failed(Call::Commit, &head.table)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::contract::{Readable, catalog_contract_tests};

    #[async_trait]
    impl Readable for MemoryCatalog {
        async fn row_ids(&self, table: &str) -> Vec<RowId> {
            let mut ids: Vec<RowId> = self.rows(table).iter().map(|event| event.row_id).collect();
            ids.sort();
            ids
        }
    }

    async fn open() -> MemoryCatalog {
        MemoryCatalog::new()
    }

    catalog_contract_tests!(open);
}
