//! One message from receipt to acknowledgement. To follow an object, read in this order:
//!
//! `intake` receives messages while there is room (`slots` and `aimd` say how much), `message` decides what becomes of
//! one, `setup` answers those that are about the notifications themselves, and `lease` keeps it from being handed to
//! another meanwhile. `catalogue` is what the work begins with: sources and log types; `unrouted` rations what no
//! source takes. `object` takes each object of a message through claim, reading and outcome (`attempts` says what
//! earlier tries mean for it, `disposition` what a failure to read means, `stop` why its work ends without an outcome).
//! `reader` turns bytes into batches of events, `reading` adds these up, `feedback` sees in them that margay reads what
//! its own reading makes, and `discovery` tells of fields that no schema has.
//!
//! Beside that way: `audit` tells in the lake how objects ended and sources are, `parked` takes up objects that were
//! refused, `records` single rejects of a committed object, and `explain` tells all of it without doing it; `trace` keeps
//! what it shows. `scan` reads an object for who only looks. `health` examines the way to a source. `selfcheck` makes
//! alerts of what is wrong with margay itself.
//!
//! Everything outside is reached through ports; no adapter is named here. A message is acknowledged only when the
//! outcome of everything in it is durable: in the ledger, or in quarantine with its reason.

mod aimd;
mod attempts;
mod audit;
mod catalogue;
mod discovery;
mod disposition;
pub mod explain;
mod feedback;
pub mod health;
mod intake;
mod lease;
mod message;
mod object;
mod parked;
mod reader;
mod reading;
mod records;
pub mod scan;
mod selfcheck;
mod setup;
mod slots;
mod stop;
mod trace;
mod unrouted;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use audit::{MOST_AUDITED, audit, tell_health, tell_rules};
pub use catalogue::{Catalogue, CurrentCatalogue};
pub use discovery::Discoveries;
pub use intake::run;
pub use parked::Parked;
pub use records::{Mended, replay_records};
pub use selfcheck::{SelfCheck, Tolerance};
pub use slots::Slots;
pub use unrouted::Unrouted;

use crate::decode::Limits;
use crate::detect::Engine;
use crate::fetch::ObjectStore;
use crate::lake::Lake;
use crate::model::{Detections, Receiver};
use crate::queue::MessageQueue;
use crate::runtime::{ByteBudget, SharedClock};
use crate::state::{ClaimToken, Condition, Fact, Placed, StateError, StateStore};
use crate::telemetry::Telemetry;
use crate::topic::Confirmations;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Objects worked on at once, at the most; how many that are at a time follows load and throttling. Those that wait for
    /// the lake to commit their rows are not among them.
    pub max_in_flight: usize,
    /// Bytes of fetched, decoded and not yet durable data, in MiB, over all objects.
    pub memory_budget_mib: u64,
    /// One object may decompress to this many bytes, in MiB.
    pub max_object_mib: u64,
    /// One record may have this many bytes, in MiB.
    pub max_record_mib: u64,
    /// An object whose work ended in a crash so often is quarantined instead of being read again.
    pub poison_after: u32,
    /// Time for work in flight after SIGTERM, in seconds.
    pub shutdown_grace_seconds: u64,
    /// How often the way to each source is examined, in seconds; 0 for never.
    pub source_check_seconds: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_in_flight: 32,
            memory_budget_mib: 512,
            max_object_mib: 32 * 1024,
            max_record_mib: 16,
            poison_after: 8,
            shutdown_grace_seconds: 25,
            source_check_seconds: 15 * 60,
        }
    }
}

impl Config {
    pub fn limits(&self) -> Limits {
        Limits {
            max_object_bytes: self.max_object_mib * 1024 * 1024,
            max_record_bytes: usize::try_from(self.max_record_mib * 1024 * 1024).unwrap_or(usize::MAX),
        }
    }
}

/// Everything that the work on a message needs. Built once by the composition root, shared by all messages.
pub struct Pipeline {
    pub queue: Arc<dyn MessageQueue>,
    pub objects: Arc<dyn ObjectStore>,
    pub confirmations: Arc<dyn Confirmations>,
    pub state: Arc<dyn StateStore>,
    pub lake: Arc<dyn Lake>,
    pub engine: Engine,
    pub catalogue: CurrentCatalogue,
    pub clock: SharedClock,
    pub telemetry: Telemetry,
    pub budget: ByteBudget,
    pub limits: Limits,
    pub slots: Arc<Slots>,
    pub unrouted: Unrouted,
    pub discoveries: Discoveries,
    pub poison_after: u32,
    /// How long a message is leased at each extension.
    pub lease: Duration,
    /// Where a new alert may go to; replaced as a whole.
    pub destinations: watch::Sender<Arc<[Receiver]>>,
    /// Woken when an alert was opened, so that its delivery starts at once.
    pub alert_opened: Arc<Notify>,
    /// Why no messages come in, while that is so.
    pub trouble: watch::Sender<Option<String>>,
    /// Work in flight stops here and hands its messages back.
    pub abandon: CancellationToken,
}

impl Pipeline {
    /// Where a new alert may go to now.
    pub fn destinations(&self) -> Arc<[Receiver]> {
        self.destinations.borrow().clone()
    }

    /// Makes durable what rules found under a claim, and has new alerts delivered; where each of it counts.
    pub async fn record(
        &self,
        token: &ClaimToken,
        detections: &Detections,
        now: OffsetDateTime,
    ) -> Result<Vec<Placed>, StateError> {
        for off in &detections.switched_off {
            self.state.note(Fact::Trouble(Condition::RuleStopped), &off.rule.id, &off.to_string(), now).await?;
        }
        if detections.is_empty() {
            return Ok(Vec::new());
        }
        let recorded = self.state.record(token, detections, &self.destinations(), now).await?;
        self.telemetry.alerts_held(recorded.held);
        if !recorded.opened.is_empty() {
            for alert in &recorded.opened {
                self.telemetry.alert_opened(&alert.id, &alert.rule_id, alert.severity, alert.kind);
            }
            self.alert_opened.notify_one();
        }
        Ok(recorded.placed)
    }
}
