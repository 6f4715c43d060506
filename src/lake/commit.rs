//! One commit of rows to one table, tried until its outcome is known: the protocol by which every row is shown once.
//!
//! Each attempt does the following, in this order:
//!
//! 1. It loads the head of the table.
//! 2. It writes its intent into the ledger: the commit's id, and how far each object comes with it. The ledger refuses when
//!    the claim on one of the objects is lost, and tells how far these objects are known to have come in this table, and
//!    which other intents for them are not resolved: the doubts.
//! 3. It looks in the history of the head of step 1 for the doubts, and for its own id if an earlier attempt of it may have
//!    arrived. What is found is noted in the ledger. Rows that are known or found to be there leave this commit.
//! 4. It commits on the head of step 1, which the catalog refuses if the table has moved on.
//!
//! Why no row is shown twice. Let an object have two owners, the old one (which may be paused anywhere, or have left a
//! request on the network) and the new one, which claimed later.
//!
//! - The old one's commit arrives before the new one loads its head: the new one is told so in step 2, if the old one came to
//!   note it, or else finds the id in step 3. It drops the rows. What it knew when it began to read does not suffice.
//! - It arrives after that and before the new one's commit: the head has moved, so the new one is refused, tries again, and
//!   then is told or finds the id.
//! - It arrives after the new one's commit: it was checked in step 2 before the new claim existed, hence its head was loaded
//!   before the new one's commit; the table has moved on and it is refused. Its next attempt is refused in step 2. The order
//!   of steps 1 and 2 is what this rests on: checked first and loaded later, it would slip in.
//! - The new one has no rows left for the table: then nobody but the old one ever commits the old one's rows, once.
//!
//! So after a commit every doubt that was not found is dead, for whatever owner, and its intents go. An attempt whose outcome
//! is unknown is to the next attempt what an old owner is to a new one.
//!
//! Why no row is lost. A found id stands for its rows, so an id means one set of rows: when rows leave a commit, the rest gets
//! a new id. And rows of one object reach a table in order: one commit of a table at a time, and after a failure nothing more
//! under the same claim (`claims`). So what an object has reached in a table is one position.

use tokio::time::timeout;

use super::LakeError;
use super::catalog::{Catalog, CatalogError, Outcome, Wanted};
use super::committer::Shared;
use super::table::{Chunk, Table, without_durable};
use crate::model::{ObjectId, Position};
use crate::state::{CommitId, Doubt, Earlier, Intended, Part};
use time::OffsetDateTime;

/// Commits what the table has buffered. An error has been told to all whose rows it concerns.
pub(super) async fn commit<C: Catalog>(shared: &Shared<C>, table: &Table) -> Result<(), LakeError> {
    let _turn = table.turn.lock().await;
    let chunks = table.take();
    let mut commit = Commit { shared, table: &table.name, chunks, id: new_id(), staged: None, sent: None };
    let mut failures = 0;
    while !commit.chunks.is_empty() {
        let reason = match commit.attempt().await {
            Ok(Step::Committed) => {
                commit.landed();
                break;
            }
            // There are fewer rows each time.
            Ok(Step::Shrunk) => continue,
            Ok(Step::Overtaken) => {
                shared.telemetry.lake_attempt_overtaken(commit.table);
                LakeError::Failed(format!("every attempt to commit to table {} was overtaken by another", commit.table))
            }
            Err(error) => {
                shared.telemetry.lake_attempt_failed(commit.table, &error);
                error
            }
        };
        if failures == shared.limits.retries {
            return Err(commit.give_up(reason));
        }
        tokio::time::sleep(shared.limits.backoff.delay(failures)).await;
        failures += 1;
    }
    Ok(())
}

/// How an attempt went whose outcome is known.
enum Step {
    /// All the rows are in the table.
    Committed,
    /// Some of the rows need no commit any more, or may have none: the others can be tried at once.
    Shrunk,
    /// Another commit came first.
    Overtaken,
}

/// Rows on their way into a table.
struct Commit<'a, C: Catalog> {
    shared: &'a Shared<C>,
    table: &'a str,
    chunks: Vec<Chunk>,
    id: CommitId,
    staged: Option<C::Staged>,
    /// Since when an attempt under this id may have reached the table.
    sent: Option<OffsetDateTime>,
}

impl<C: Catalog> Commit<'_, C> {
    async fn attempt(&mut self) -> Result<Step, LakeError> {
        let Shared { catalog, ledger, clock, .. } = self.shared;
        // Before the head is loaded: it takes long, and the head should be young.
        if self.staged.is_none() {
            let rows = self.chunks.iter().map(|chunk| chunk.rows.clone()).collect();
            self.staged = Some(self.answer("write rows for", catalog.stage(self.table, self.id, &rows)).await?);
        }
        let head = self.answer("load", catalog.load(self.table)).await?;
        let now = clock.now();
        let Earlier { progress, doubts } = match ledger.intend(self.id, self.table, &self.parts(), now).await? {
            Intended::Written(earlier) => earlier,
            Intended::Refused(objects) => {
                self.refuse(&objects);
                return Ok(Step::Shrunk);
            }
        };
        let (found, dead) = self.look_for(&head, &doubts).await?;
        if found.contains(&self.id) {
            self.note(self.id, &dead).await;
            return Ok(Step::Committed);
        }
        for commit in &found {
            ledger.committed(*commit, &[]).await?;
        }
        let found = doubts.iter().filter(|doubt| found.contains(&doubt.commit));
        let durable = found.map(|doubt| (doubt.object, doubt.through)).chain(progress);
        if self.drop_durable(durable) {
            return Ok(Step::Shrunk);
        }
        let staged = self.staged.as_ref().expect("the rows were staged above");
        let sent_before = self.sent;
        self.sent.get_or_insert(now);
        match self.answer("commit to", catalog.commit(&head, staged)).await? {
            Outcome::Committed => {
                self.note(self.id, &dead).await;
                Ok(Step::Committed)
            }
            Outcome::Conflict => {
                self.sent = sent_before;
                Ok(Step::Overtaken)
            }
        }
    }

    /// How far each object comes.
    fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for chunk in &self.chunks {
            let token = &chunk.claim.token;
            let Some(through) = chunk.rows.last() else { continue };
            let at = *places.entry((token.object, token.fence)).or_insert_with(|| {
                parts.push(Part { token: token.clone(), through });
                parts.len() - 1
            });
            parts[at].through = parts[at].through.max(through);
        }
        parts
    }

    /// The doubts, and this commit itself if it was sent before: which are in the table, and which are not.
    async fn look_for(&self, head: &C::Head, doubts: &[Doubt]) -> Result<(Vec<CommitId>, Vec<CommitId>), LakeError> {
        let own = self.sent.map(|since| Wanted { commit: self.id, since });
        let others = doubts.iter().map(|doubt| Wanted { commit: doubt.commit, since: doubt.since });
        let mut wanted: Vec<Wanted> = others.chain(own).collect();
        wanted.sort_by_key(|wanted| (wanted.commit, wanted.since));
        wanted.dedup_by_key(|wanted| wanted.commit);
        if wanted.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let found = self.answer("read the history of", self.shared.catalog.find(head, &wanted)).await?;
        let dead = wanted.iter().map(|wanted| wanted.commit);
        let dead = dead.filter(|commit| *commit != self.id && !found.contains(commit)).collect();
        Ok((found, dead))
    }

    /// Takes out the rows up to these positions; whether there were any.
    fn drop_durable(&mut self, durable: impl Iterator<Item = (ObjectId, Position)>) -> bool {
        for (object, through) in durable {
            let of_object = self.chunks.iter().filter(|chunk| chunk.claim.token.object == object);
            of_object.for_each(|chunk| chunk.claim.found_durable(self.table, through));
        }
        let changed = without_durable(self.table, &mut self.chunks);
        if changed {
            self.start_anew();
        }
        changed
    }

    /// The rows of lost claims leave the commit.
    fn refuse(&mut self, objects: &[ObjectId]) {
        for chunk in std::mem::take(&mut self.chunks) {
            let object = chunk.claim.token.object;
            if objects.contains(&object) { chunk.failed(&LakeError::Fenced(object)) } else { self.chunks.push(chunk) }
        }
        self.start_anew();
    }

    /// Other rows are another commit. What may have become of the one before is a doubt from now on.
    fn start_anew(&mut self) {
        (self.id, self.staged, self.sent) = (new_id(), None, None);
    }

    /// The rows are in the table, so a ledger that fails changes nothing: the intent stays and is found.
    async fn note(&self, commit: CommitId, dead: &[CommitId]) {
        if let Err(error) = self.shared.ledger.committed(commit, dead).await {
            self.shared.telemetry.state_failed("note a commit", &error);
        }
    }

    fn landed(&mut self) {
        let rows = self.chunks.iter().map(|chunk| chunk.rows.len()).sum();
        self.shared.telemetry.lake_committed(self.table, rows);
        self.chunks.drain(..).for_each(Chunk::landed);
    }

    fn give_up(&mut self, error: LakeError) -> LakeError {
        self.shared.telemetry.lake_gave_up(self.table, &error);
        self.chunks.drain(..).for_each(|chunk| chunk.failed(&error));
        error
    }

    /// The answer of a catalog that need not come.
    async fn answer<T>(
        &self,
        attempted: &str,
        call: impl Future<Output = Result<T, CatalogError>>,
    ) -> Result<T, LakeError> {
        let failed = |reason: &dyn std::fmt::Display| {
            LakeError::Failed(format!("could not {attempted} table {}: {reason}", self.table))
        };
        match timeout(self.shared.limits.patience, call).await {
            Ok(answer) => answer.map_err(|error| failed(&error)),
            Err(_) => Err(failed(&"the catalog did not answer in time")),
        }
    }
}

fn new_id() -> CommitId {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system gives random bytes");
    CommitId(id)
}
