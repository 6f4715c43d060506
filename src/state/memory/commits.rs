//! Intents and progress in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryState, Tables};
use crate::model::{ObjectId, Position};
use crate::state::{CommitId, Commits, Doubt, Earlier, Intended, Part, StateError};

/// The rows of one object that a commit to a table was meant to hold.
pub(super) struct Intent {
    through: Position,
    since: OffsetDateTime,
}

impl Tables {
    fn earlier(&self, commit: CommitId, table: &str, object: ObjectId, earlier: &mut Earlier) {
        if let Some(through) = self.progress.get(&(object, table.to_owned())) {
            earlier.progress.push((object, *through));
        }
        let others = self.intents.iter().filter(|((of, to, id), _)| *of == object && to == table && *id != commit);
        earlier.doubts.extend(others.map(|((_, _, id), intent)| Doubt {
            commit: *id,
            object,
            through: intent.through,
            since: intent.since,
        }));
    }

    /// Forgets an object that is never read again.
    pub(super) fn forget(&mut self, object: ObjectId) {
        self.intents.retain(|(of, ..), _| *of != object);
        self.progress.retain(|(of, _), _| *of != object);
    }
}

#[async_trait]
impl Commits for MemoryState {
    async fn progress(&self, object: ObjectId) -> Result<Vec<(String, Position)>, StateError> {
        let tables = self.lock();
        let of_object = tables.progress.iter().filter(|((of, _), _)| *of == object);
        Ok(of_object.map(|((_, table), through)| (table.clone(), *through)).collect())
    }

    async fn intend(
        &self,
        commit: CommitId,
        table: &str,
        parts: &[Part],
        now: OffsetDateTime,
    ) -> Result<Intended, StateError> {
        let mut tables = self.lock();
        let lost = parts.iter().map(|part| &part.token).filter(|token| tables.check_claim(token).is_err());
        let refused: Vec<ObjectId> = lost.map(|token| token.object).collect();
        if !refused.is_empty() {
            return Ok(Intended::Refused(refused));
        }
        let mut earlier = Earlier::default();
        for Part { token, through } in parts {
            tables.earlier(commit, table, token.object, &mut earlier);
            let intent = Intent { through: *through, since: now };
            tables.intents.entry((token.object, table.to_owned(), commit)).or_insert(intent);
        }
        Ok(Intended::Written(earlier))
    }

    async fn committed(&self, commit: CommitId, dead: &[CommitId]) -> Result<(), StateError> {
        let mut tables = self.lock();
        let Tables { intents, progress, .. } = &mut *tables;
        for ((object, table, _), intent) in intents.iter().filter(|((.., id), _)| *id == commit) {
            let through = progress.entry((*object, table.clone())).or_insert(intent.through);
            *through = intent.through.max(*through);
        }
        intents.retain(|(.., id), _| *id != commit && !dead.contains(id));
        Ok(())
    }
}
