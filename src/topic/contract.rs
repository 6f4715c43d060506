//! What everything that confirms subscriptions must do, as one suite over the port. It runs on the fake, and on the SNS
//! API in the integration tests, which include this file.

use super::{ConfirmError, Confirmations, TopicArn};

pub(crate) trait Subject {
    type Confirmations: Confirmations;

    fn confirmations(&self) -> &Self::Confirmations;

    /// A topic that waits for an answer, and the token that is the answer.
    async fn asked(&self) -> (TopicArn, String);
}

pub(crate) async fn check<S: Subject>(subject: &S) {
    let (topic, token) = subject.asked().await;
    // The message may come twice.
    subject.confirmations().confirm(&topic, &token).await.unwrap();
    subject.confirmations().confirm(&topic, &token).await.unwrap();

    let gone = TopicArn::parse(&format!("{topic}-gone")).unwrap();
    let refused = subject.confirmations().confirm(&gone, &token).await;
    assert!(matches!(&refused, Err(ConfirmError::Refused(text)) if text.contains(gone.as_str())), "{refused:?}");
}
