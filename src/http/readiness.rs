//! Whether the daemon takes work in, and if not, why. A value that others set and the server shows.

use std::sync::{Arc, Mutex, PoisonError};

/// Cheap to clone; all clones are one. Starts as not ready, with the reason `starting`.
#[derive(Clone)]
pub struct Readiness(Arc<Mutex<State>>);

enum State {
    Ready,
    NotReady(String),
    /// There is no way back.
    Draining,
}

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness(Arc::new(Mutex::new(State::NotReady("starting".into()))))
    }
}

impl Readiness {
    pub fn new() -> Readiness {
        Readiness::default()
    }

    pub fn set_ready(&self) {
        self.turn(State::Ready);
    }

    pub fn not_ready(&self, reason: impl Into<String>) {
        self.turn(State::NotReady(reason.into()));
    }

    /// For the rest of the process: what is ready from now on does not change it.
    pub fn drain(&self) {
        self.turn(State::Draining);
    }

    /// Why it is not ready; `None` while it is.
    pub fn hindrance(&self) -> Option<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Ready => None,
            State::NotReady(reason) => Some(reason.clone()),
            State::Draining => Some("draining".into()),
        }
    }

    fn turn(&self, to: State) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*state, State::Draining) {
            *state = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_final() {
        let readiness = Readiness::new();
        assert_eq!(readiness.hindrance().as_deref(), Some("starting"));
        readiness.clone().set_ready();
        assert_eq!(readiness.hindrance(), None);
        readiness.not_ready("queue unreachable");
        assert_eq!(readiness.hindrance().as_deref(), Some("queue unreachable"));
        readiness.drain();
        readiness.set_ready();
        assert_eq!(readiness.hindrance().as_deref(), Some("draining"));
    }
}
