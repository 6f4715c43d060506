//! What a failure to read an object means for it: another try, or an outcome. Pure.

use std::time::Duration;

use super::attempts::{self, PATIENCE_DELAY};
use crate::decode::DecodeError;
use crate::fetch::FetchError;
use crate::model::OnMissing;
use crate::state::{Attempts, ObjectState};

#[derive(Debug, PartialEq)]
pub(super) enum Disposition {
    Outcome(ObjectState),
    /// Without a delay: after the message's own back-off.
    Again {
        reason: &'static str,
        delay: Option<Duration>,
    },
}

/// What a person or a replica may still mend (a missing or forbidden object, a missing bucket) is looked at a few times
/// before it becomes the object's outcome. What ends by itself is tried for as long as the queue keeps the message.
pub(super) fn of(error: &FetchError, on_missing: OnMissing, attempts: &Attempts) -> Disposition {
    let again = |reason, delay| Disposition::Again { reason, delay };
    let patient = |state, reason| match attempts::is_last_look(attempts, reason) {
        false => again(reason, Some(PATIENCE_DELAY)),
        true => Disposition::Outcome(state),
    };
    match error {
        FetchError::Missing(_) if on_missing == OnMissing::Retry => again("missing", None),
        FetchError::Missing(_) => patient(ObjectState::Missing, "missing"),
        FetchError::NoBucket(_) => patient(ObjectState::Parked, "no_bucket"),
        FetchError::Forbidden(..) => patient(ObjectState::Parked, "forbidden"),
        FetchError::Superseded(_) => Disposition::Outcome(ObjectState::Superseded),
        FetchError::Archived(_) => Disposition::Outcome(ObjectState::Archived),
        FetchError::Throttled(_) => again("throttled", None),
        FetchError::Unavailable(_) => again("fetch", None),
    }
}

/// What a fault in the bytes means: a transfer can be damaged on the way; the second time it is the object.
pub(super) fn of_fault(error: &DecodeError, attempts: &Attempts) -> ObjectState {
    match error.reason.may_be_transient() && !attempts::was_partial(attempts) {
        true => ObjectState::Partial,
        false => ObjectState::Quarantined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::Refusal;

    /// A try after as many that ended in the same way.
    fn try_number(number: u32) -> Attempts {
        let before =
            ["missing", "forbidden", "no_bucket", "fetch", "throttled"].map(|reason| (reason.into(), number - 1));
        Attempts { started: number, crashed: 0, given_up: before.into() }
    }

    #[test]
    fn what_may_be_mended_is_looked_at_three_times_and_what_passes_for_ever() {
        let text = String::new;
        let cases: [(FetchError, Option<ObjectState>, Option<ObjectState>); 7] = [
            (FetchError::Missing(text()), None, Some(ObjectState::Missing)),
            (FetchError::NoBucket(text()), None, Some(ObjectState::Parked)),
            (FetchError::Forbidden(Refusal::KmsDenied, text()), None, Some(ObjectState::Parked)),
            (FetchError::Superseded(text()), Some(ObjectState::Superseded), Some(ObjectState::Superseded)),
            (FetchError::Archived(text()), Some(ObjectState::Archived), Some(ObjectState::Archived)),
            (FetchError::Throttled(text()), None, None),
            (FetchError::Unavailable(text()), None, None),
        ];
        let outcome = |disposition| match disposition {
            Disposition::Outcome(state) => Some(state),
            Disposition::Again { .. } => None,
        };
        for (error, early, late) in cases {
            for (tries, expected) in [(1, early), (2, early), (3, late), (1000, late)] {
                let given_up = outcome(of(&error, OnMissing::Accept, &try_number(tries)));
                assert_eq!(given_up, expected, "{error:?} at try {tries}");
            }
        }
    }

    #[test]
    fn a_source_may_wait_for_missing_objects() {
        let missing = FetchError::Missing(String::new());
        for tries in [1, 3, 1000] {
            let again = Disposition::Again { reason: "missing", delay: None };
            assert_eq!(of(&missing, OnMissing::Retry, &try_number(tries)), again);
        }
        let forbidden = FetchError::Forbidden(Refusal::AccessDenied, String::new());
        assert_eq!(of(&forbidden, OnMissing::Retry, &try_number(3)), Disposition::Outcome(ObjectState::Parked));
    }
}
