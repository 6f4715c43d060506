//! The honest fake: topics in memory that each wait for one token and refuse any other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{ConfirmError, Confirmations};
use crate::model::TopicArn;

#[derive(Default)]
pub struct MemoryTopics(Mutex<State>);

#[derive(Default)]
struct State {
    /// The token that each topic waits for.
    asked: HashMap<String, String>,
    confirmed: BTreeSet<String>,
    down: bool,
}

impl MemoryTopics {
    /// The topic waits for this token from now on.
    pub fn ask(&self, topic: &str, token: &str) {
        self.state().asked.insert(topic.to_owned(), token.to_owned());
    }

    /// Whether calls get no answer.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    pub fn is_confirmed(&self, topic: &str) -> bool {
        self.state().confirmed.contains(topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Confirmations for MemoryTopics {
    async fn confirm(&self, topic: &TopicArn, token: &str) -> Result<(), ConfirmError> {
        let mut state = self.state();
        if state.down {
            return Err(ConfirmError::Unavailable("no answer".into()));
        }
        match state.asked.get(topic.as_str()) {
            Some(asked) if asked == token => {
                state.confirmed.insert(topic.as_str().to_owned());
                Ok(())
            }
            Some(_) => Err(ConfirmError::Refused("the token is not the topic's".into())),
            None => Err(ConfirmError::Refused("there is no such topic".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_token_confirms_and_does_so_twice() {
        let topics = MemoryTopics::default();
        let arn = "arn:aws:sns:us-west-2:111122223333:logs";
        let topic = TopicArn::parse(arn).unwrap();
        assert!(matches!(topics.confirm(&topic, "t").await, Err(ConfirmError::Refused(_))));
        topics.ask(arn, "t");
        assert!(matches!(topics.confirm(&topic, "other").await, Err(ConfirmError::Refused(_))));
        assert!(!topics.is_confirmed(arn));
        topics.confirm(&topic, "t").await.unwrap();
        topics.confirm(&topic, "t").await.unwrap();
        assert!(topics.is_confirmed(arn));
    }
}
