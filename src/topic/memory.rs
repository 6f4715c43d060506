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
            Some(_) => Err(ConfirmError::Refused(format!("the token is not that of topic {topic}"))),
            None => Err(ConfirmError::Refused(format!("there is no topic {topic}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    const TOPIC: &str = "arn:aws:sns:us-west-2:111122223333:logs";

    struct Subject(MemoryTopics);

    impl contract::Subject for Subject {
        type Confirmations = MemoryTopics;

        fn confirmations(&self) -> &MemoryTopics {
            &self.0
        }

        async fn asked(&self) -> (TopicArn, String) {
            self.0.ask(TOPIC, "t");
            (TopicArn::parse(TOPIC).unwrap(), "t".into())
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        contract::check(&Subject(MemoryTopics::default())).await;
    }

    #[tokio::test]
    async fn only_the_right_token_confirms() {
        let topics = MemoryTopics::default();
        let topic = TopicArn::parse(TOPIC).unwrap();
        topics.ask(TOPIC, "t");
        assert!(matches!(topics.confirm(&topic, "other").await, Err(ConfirmError::Refused(_))));
        assert!(!topics.is_confirmed(TOPIC));
        topics.confirm(&topic, "t").await.unwrap();
        assert!(topics.is_confirmed(TOPIC));
        topics.set_down(true);
        assert!(matches!(topics.confirm(&topic, "t").await, Err(ConfirmError::Unavailable(_))));
    }
}
