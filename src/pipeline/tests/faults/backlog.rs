//! The ports of commands and of upkeep as one daemon sees them, with the same faults as the others.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::state::StateView;
use crate::model::key_value::{Call, Item};
use crate::model::{ObjectId, Reject, Revision, SeenField, UnknownField};
use crate::state::Revisions;
use crate::state::{
    Archive, Backlog, Caller, Changed, ClaimToken, KeptFilter, KeyValue, KnownVersion, LedgerEntry, Mending,
    ObjectFilter, ObjectState, Quarantined, Remember, StateError, Told, Upkeep,
};

#[async_trait]
impl Backlog for StateView {
    async fn open_objects(
        &self,
        states: &[ObjectState],
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        self.call("open objects", self.state().open_objects(states, filter, after, limit, now)).await
    }

    async fn versions(&self, bucket: &str, key: &str) -> Result<Vec<KnownVersion>, StateError> {
        self.call("versions", self.state().versions(bucket, key)).await
    }
}

#[async_trait]
impl Mending for StateView {
    async fn with_rejects(
        &self,
        filter: &ObjectFilter,
        after: Option<ObjectId>,
        limit: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<LedgerEntry>, StateError> {
        self.call("objects with rejects", self.state().with_rejects(filter, after, limit, now)).await
    }

    async fn rejects(&self, object: ObjectId, after: Option<u64>, limit: u32) -> Result<Vec<Reject>, StateError> {
        self.call("rejects", self.state().rejects(object, after, limit)).await
    }

    async fn reopen(
        &self,
        object: ObjectId,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Option<ClaimToken>, StateError> {
        self.call("reopen", self.state().reopen(object, now, until)).await
    }

    async fn mend(&self, token: &ClaimToken, ordinals: &[u64], events: u64) -> Result<(), StateError> {
        self.call("mend", self.state().mend(token, ordinals, events)).await
    }
}

#[async_trait]
impl Archive for StateView {
    async fn kept(&self, filter: &KeptFilter, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        self.call("kept", self.state().kept(filter, limit)).await
    }

    async fn find(&self, id: &str) -> Result<Vec<Quarantined>, StateError> {
        self.call("find", self.state().find(id)).await
    }

    async fn claims(&self, object: ObjectId) -> Result<Option<(u64, OffsetDateTime)>, StateError> {
        self.call("count an object's claims", self.state().claims(object)).await
    }

    async fn messages(
        &self,
        filter: &KeptFilter,
        after: Option<&Quarantined>,
        limit: u32,
    ) -> Result<Vec<Quarantined>, StateError> {
        self.call("messages", self.state().messages(filter, after, limit)).await
    }

    async fn forget_message(&self, kept: &Quarantined) -> Result<(), StateError> {
        self.call("forget a message", self.state().forget_message(kept)).await
    }
}

#[async_trait]
impl Upkeep for StateView {
    async fn checkpoint(&self, name: &str) -> Result<Option<String>, StateError> {
        self.call("checkpoint", self.state().checkpoint(name)).await
    }

    async fn save_checkpoint(&self, name: &str, position: Option<&str>, now: OffsetDateTime) -> Result<(), StateError> {
        self.call("save a checkpoint", self.state().save_checkpoint(name, position, now)).await
    }

    async fn forget_objects(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        self.call("forget objects", self.state().forget_objects(before, limit)).await
    }

    async fn forget_kept(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        self.call("forget what was kept", self.state().forget_kept(before, limit)).await
    }

    async fn forgotten_before(&self) -> Result<Option<OffsetDateTime>, StateError> {
        self.call("forgotten before", self.state().forgotten_before()).await
    }
}

#[async_trait]
impl KeyValue for StateView {
    async fn item(&self, key: &str) -> Result<Option<Item>, StateError> {
        self.call("item", self.state().item(key)).await
    }

    async fn change(
        &self,
        caller: &Caller<'_>,
        remember: Remember<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Changed, StateError> {
        self.call("change an item", self.state().change(caller, remember, call, now)).await
    }

    async fn recall(&self, caller: &Caller<'_>) -> Result<Vec<Told>, StateError> {
        self.call("recall", self.state().recall(caller)).await
    }

    async fn forget_items(&self, now: OffsetDateTime, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        self.call("forget items", self.state().forget_items(now, before, limit)).await
    }
}

#[async_trait]
impl Revisions for StateView {
    async fn revisions(&self) -> Result<Vec<Revision>, StateError> {
        self.call("revisions", self.state().revisions()).await
    }

    async fn revise(&self, revisions: &[Revision], now: OffsetDateTime) -> Result<bool, StateError> {
        self.call("revise", self.state().revise(revisions, now)).await
    }

    async fn discover(
        &self,
        log_type: &str,
        fields: &[UnknownField],
        now: OffsetDateTime,
    ) -> Result<Vec<UnknownField>, StateError> {
        self.call("discover", self.state().discover(log_type, fields, now)).await
    }

    async fn unknown_fields(&self, log_type: &str) -> Result<Vec<SeenField>, StateError> {
        self.call("unknown fields", self.state().unknown_fields(log_type)).await
    }
}
