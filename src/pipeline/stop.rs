//! Why the work on an object stops without an outcome, and what that means for its message.

use std::time::Duration;

use crate::detect::DetectError;
use crate::lake::LakeError;
use crate::state::StateError;

/// Why an object got no outcome this time.
pub(super) enum Stop {
    Retry { reason: &'static str, detail: String, delay: Option<Duration> },
    State(StateError),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stop::Retry { detail, .. } => f.write_str(detail),
            Stop::State(error) => error.fmt(f),
        }
    }
}

impl From<StateError> for Stop {
    fn from(error: StateError) -> Stop {
        Stop::State(error)
    }
}

impl From<LakeError> for Stop {
    fn from(error: LakeError) -> Stop {
        match error {
            LakeError::Fenced(object) => Stop::State(StateError::Fenced(object)),
            LakeError::Failed(detail) => Stop::Retry { reason: "lake", detail, delay: None },
        }
    }
}

impl From<DetectError> for Stop {
    fn from(error: DetectError) -> Stop {
        if let DetectError::State(error) = error {
            return Stop::State(error);
        }
        // Only what the batch itself brings about counts against its object.
        let reason = if error.is_of_the_batch() { "detect" } else { "rule_worker" };
        Stop::Retry { reason, detail: error.to_string(), delay: None }
    }
}
