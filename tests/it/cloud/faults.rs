//! What goes wrong, by script: which call, how often, and how. Nothing here is random; a test that wants chance draws
//! it from a seed of its own.

use std::time::Duration;

use tokio::sync::watch;

use super::state::Op;

/// A fault of calls of one kind: `on(op).about(subject).after(2).times(3).does(effect)`.
pub struct Script {
    op: Op,
    about: Option<String>,
    skip: u32,
    times: u32,
    effects: Vec<Effect>,
}

/// The next call of this kind. [`Script::about`], [`Script::after`] and [`Script::times`] choose others.
pub fn on(op: Op) -> Script {
    Script { op, about: None, skip: 0, times: 1, effects: Vec::new() }
}

impl Script {
    /// Only calls about this message, key, bucket or role.
    pub fn about(mut self, subject: &str) -> Script {
        self.about = Some(subject.to_owned());
        self
    }

    /// So many calls go well first.
    pub fn after(mut self, calls: u32) -> Script {
        self.skip = calls;
        self
    }

    /// So many calls go wrong.
    pub fn times(mut self, calls: u32) -> Script {
        self.times = calls;
        self
    }

    /// What happens; several happen in this order.
    pub fn does(mut self, effect: Effect) -> Script {
        self.effects.push(effect);
        self
    }
}

/// Before the call has any effect, or after it had all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    Before,
    After,
}

#[derive(Clone, Debug)]
pub enum Effect {
    /// The call waits.
    Delay(Duration),
    /// The call waits until the gate opens.
    Hold(Moment, Gate),
    /// An error is answered.
    Refuse(Moment, Refusal),
    /// The connection is closed without an answer.
    Reset(Moment),
    /// The connection is closed after so many bytes of the body.
    BreakAfter(u64),
    /// After so many bytes of the body nothing more comes until the gate opens.
    HoldAfter(u64, Gate),
    /// The body ends after so many bytes, and the answer says that this is all.
    CutAt(u64),
    /// The byte at this offset of the object is another one.
    Garble(u64),
}

/// An error as AWS answers it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, message: &str) -> Refusal {
        Refusal { status, code, message: message.to_owned() }
    }
}

/// Holds calls until the test lets them go, and tells the test that one has come.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<(bool, bool)>);

impl Gate {
    pub fn new() -> Gate {
        Gate(watch::Sender::new((false, false)))
    }

    pub fn open(&self) {
        self.0.send_modify(|(_, open)| *open = true);
    }

    /// Whether a call has come to the gate.
    pub fn is_reached(&self) -> bool {
        self.0.borrow().0
    }

    pub(super) async fn pass(&self) {
        self.0.send_modify(|(reached, _)| *reached = true);
        let opened = self.0.subscribe().wait_for(|(_, open)| *open).await.map(|_| ());
        opened.expect("the gate has a sender: this one");
    }
}

/// The scripts of a server.
#[derive(Default)]
pub struct Faults(Vec<Script>);

impl Faults {
    pub fn push(&mut self, script: Script) {
        self.0.push(script);
    }

    /// The effects on one call, which is counted.
    pub fn take(&mut self, op: Op, subject: &str) -> Effects {
        for script in &mut self.0 {
            let about = script.about.as_ref().is_none_or(|about| about == subject);
            if script.op != op || !about || script.times == 0 {
                continue;
            }
            if script.skip > 0 {
                script.skip -= 1;
                continue;
            }
            script.times -= 1;
            return Effects(script.effects.clone());
        }
        Effects::default()
    }
}

/// The connection ends here, without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed by a fault")]
pub struct Reset;

/// What happens to one call.
#[derive(Default)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// Waits where the script says so, then gives the refusal or the end.
    pub async fn at(&self, moment: Moment) -> Result<Option<Refusal>, Reset> {
        for effect in &self.0 {
            match effect {
                Effect::Delay(time) if moment == Moment::Before => tokio::time::sleep(*time).await,
                Effect::Hold(when, gate) if *when == moment => gate.pass().await,
                Effect::Refuse(when, refusal) if *when == moment => return Ok(Some(refusal.clone())),
                Effect::Reset(when) if *when == moment => return Err(Reset),
                _ => {}
            }
        }
        Ok(None)
    }

    /// What happens to the body of an object.
    pub fn into_body(self) -> Vec<Effect> {
        self.0
    }
}
