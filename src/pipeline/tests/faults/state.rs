//! The state as one daemon sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::life::Life;
use super::ports::call;
use super::world::Fault;
use crate::model::{Alert, Detections, News, ObjectId, ObjectRef, Position, Receiver, Reject, RowId, Taken};
use crate::state::{
    AlertFilter, AlertMatch, AlertStore, Audited, Claim, ClaimToken, CommitId, Commits, Conclusion, Desk, Fact, Failed,
    Intended, KeptRows, Lease, Leases, Ledger, Lift, Noted, Notice, Notices, ObjectOutcome, Outbox, Part,
    PendingDelivery, Planned, Quarantine, Quarantined, Recorded, Schedules, StateError, Storm, Storms, Summary,
    TriageChange, Waiting,
};

pub(super) struct StateView(pub(super) Arc<Life>);

impl StateView {
    pub(super) async fn call<T>(
        &self,
        what: &str,
        apply: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, StateError> {
        call(&self.0, what, (Fault::StateRefuses, Fault::StateAnswerLost), StateError::Store, apply).await
    }

    pub(super) fn state(&self) -> &crate::state::memory::MemoryState {
        &self.0.world.state
    }
}

fn named(what: &str, token: &ClaimToken) -> String {
    format!("{what} {} under {}", token.object, token.fence)
}

#[async_trait]
impl Ledger for StateView {
    async fn claim(
        &self,
        object: &ObjectRef,
        source: &str,
        announced: Option<OffsetDateTime>,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Result<Claim, StateError> {
        let what = format!("claim {} ({object})", object.id());
        let apply = async {
            let claim = self.state().claim(object, source, announced, now, until).await;
            self.0.note(format!("{what}: {claim:?}"));
            claim
        };
        self.call(&what, apply).await
    }

    async fn renew(&self, token: &ClaimToken, until: OffsetDateTime) -> Result<(), StateError> {
        self.call(&named("renew", token), self.state().renew(token, until)).await
    }

    async fn release(
        &self,
        token: &ClaimToken,
        reason: &str,
        detail: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let what = format!("{} for {reason}", named("give up", token));
        self.call(&what, self.state().release(token, reason, detail, now)).await
    }

    async fn finish(&self, token: &ClaimToken, outcome: &ObjectOutcome, now: OffsetDateTime) -> Result<(), StateError> {
        let apply = async {
            let result = self.state().finish(token, outcome, now).await;
            if result.is_ok() {
                self.0.world.finished(token, outcome).await;
            }
            result
        };
        self.call(&format!("{} as {:?}", named("finish", token), outcome.state), apply).await
    }

    async fn outcome(&self, object: ObjectId) -> Result<Option<ObjectOutcome>, StateError> {
        self.call("outcome", self.state().outcome(object)).await
    }
}

#[async_trait]
impl AlertStore for StateView {
    async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        destinations: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Recorded, StateError> {
        let what = named(&format!("record {} matches of", detections.matches.len()), token);
        self.call(&what, self.state().record(token, detections, destinations, now)).await
    }

    async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<Alert>, StateError> {
        self.call("alerts", self.state().alerts(filter)).await
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        self.call("alert", self.state().alert(id)).await
    }
}

#[async_trait]
impl Outbox for StateView {
    async fn due(
        &self,
        destination: &str,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<PendingDelivery>, StateError> {
        self.call("due", self.state().due(destination, now, lease, limit)).await
    }

    async fn give_back(
        &self,
        destination: &str,
        alerts: &[&str],
        leased_until: OffsetDateTime,
    ) -> Result<(), StateError> {
        self.call("give_back", self.state().give_back(destination, alerts, leased_until)).await
    }

    async fn delivered(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        taken: &Taken,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        self.call("delivered", self.state().delivered(alert, destination, news, taken, now)).await
    }

    async fn failed(
        &self,
        alert: &str,
        destination: &str,
        news: News,
        failed: &Failed<'_>,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let failed = self.state().failed(alert, destination, news, failed, now);
        self.call("failed", failed).await
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, StateError> {
        self.call("waiting", self.state().waiting()).await
    }
}

#[async_trait]
impl Desk for StateView {
    async fn triage(
        &self,
        ids: &[String],
        change: &TriageChange,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, StateError> {
        self.call("triage", self.state().triage(ids, change, by, now)).await
    }

    async fn history(&self, alert: &str) -> Result<Vec<Audited>, StateError> {
        self.call("history", self.state().history(alert)).await
    }

    async fn summary(&self, filter: &AlertFilter) -> Result<Summary, StateError> {
        self.call("summary", self.state().summary(filter)).await
    }

    async fn counted_by(&self, alert: &str, after: Option<RowId>, limit: u32) -> Result<Vec<AlertMatch>, StateError> {
        self.call("counted_by", self.state().counted_by(alert, after, limit)).await
    }

    async fn resend(
        &self,
        alert: &str,
        destinations: &[String],
        by: &str,
        now: OffsetDateTime,
    ) -> Result<bool, StateError> {
        self.call("resend", self.state().resend(alert, destinations, by, now)).await
    }
}

#[async_trait]
impl Notices for StateView {
    async fn note(&self, fact: Fact, subject: &str, detail: &str, now: OffsetDateTime) -> Result<(), StateError> {
        self.call("note", self.state().note(fact, subject, detail, now)).await
    }

    async fn noted(&self) -> Result<Vec<Noted>, StateError> {
        self.call("noted", self.state().noted()).await
    }

    async fn raise(
        &self,
        notice: &Notice,
        receivers: &[Receiver],
        now: OffsetDateTime,
    ) -> Result<Option<Alert>, StateError> {
        self.call("raise", self.state().raise(notice, receivers, now)).await
    }
}

#[async_trait]
impl Storms for StateView {
    async fn storms(&self) -> Result<Vec<Storm>, StateError> {
        self.call("storms", self.state().storms()).await
    }

    async fn digest(&self, storm: &Storm, now: OffsetDateTime) -> Result<Option<Alert>, StateError> {
        self.call("digest", self.state().digest(storm, now)).await
    }

    async fn lift(&self, lift: &Lift) -> Result<bool, StateError> {
        self.call("lift", self.state().lift(lift)).await
    }

    async fn lifts(&self, limit: u32) -> Result<Vec<Lift>, StateError> {
        self.call("lifts", self.state().lifts(limit)).await
    }
}

#[async_trait]
impl Quarantine for StateView {
    async fn keep_message(
        &self,
        message_id: &str,
        body: &str,
        reason: &str,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        self.call(&format!("keep {message_id}"), self.state().keep_message(message_id, body, reason, now)).await
    }

    async fn keep_rejects(
        &self,
        token: &ClaimToken,
        rejects: &[Reject],
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let what = named(&format!("keep {} rejects of", rejects.len()), token);
        self.call(&what, self.state().keep_rejects(token, rejects, now)).await
    }

    async fn quarantined(&self, limit: u32) -> Result<Vec<Quarantined>, StateError> {
        self.call("quarantined", self.state().quarantined(limit)).await
    }
}

#[async_trait]
impl Leases for StateView {
    async fn lease(&self, duty: &str, now: OffsetDateTime, until: OffsetDateTime) -> Result<Option<Lease>, StateError> {
        self.call(&format!("lease {duty}"), self.state().lease(duty, now, until)).await
    }

    async fn prolong(&self, lease: &Lease, until: OffsetDateTime) -> Result<bool, StateError> {
        self.call(&format!("prolong {}", lease.duty), self.state().prolong(lease, until)).await
    }
}

#[async_trait]
impl Schedules for StateView {
    async fn planned(&self) -> Result<Vec<Planned>, StateError> {
        self.call("planned", self.state().planned()).await
    }

    async fn plan(
        &self,
        query: &str,
        schedule: &str,
        due: OffsetDateTime,
        instead_of: Option<OffsetDateTime>,
    ) -> Result<(), StateError> {
        self.call(&format!("plan {query}"), self.state().plan(query, schedule, due, instead_of)).await
    }

    async fn keep_rows(
        &self,
        query: &str,
        due: OffsetDateTime,
        rows: Option<&KeptRows>,
    ) -> Result<Option<KeptRows>, StateError> {
        self.call(&format!("keep rows of {query}"), self.state().keep_rows(query, due, rows)).await
    }

    async fn conclude(&self, query: &str, due: OffsetDateTime, conclusion: &Conclusion) -> Result<bool, StateError> {
        self.call(&format!("conclude {query}"), self.state().conclude(query, due, conclusion)).await
    }

    async fn forget_runs(&self, before: OffsetDateTime, limit: u32) -> Result<u64, StateError> {
        self.call("forget runs", self.state().forget_runs(before, limit)).await
    }
}

#[async_trait]
impl Commits for StateView {
    async fn progress(&self, object: ObjectId) -> Result<Vec<(String, Position)>, StateError> {
        self.call(&format!("progress of {object}"), self.state().progress(object)).await
    }

    async fn intend(
        &self,
        commit: CommitId,
        table: &str,
        parts: &[Part],
        now: OffsetDateTime,
    ) -> Result<Intended, StateError> {
        self.call(&format!("intend {} parts for {table}", parts.len()), self.state().intend(commit, table, parts, now))
            .await
    }

    async fn committed(&self, commit: CommitId, dead: &[CommitId]) -> Result<(), StateError> {
        self.call("note a commit", self.state().committed(commit, dead)).await
    }
}
