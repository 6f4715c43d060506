//! SNS asks the queue's owner to confirm a subscription, or tells that one has ended.
//!
//! Neither names an object. The URL inside is never read, let alone fetched: the message may come from anybody who may
//! send. Source: Amazon SNS developer guide, "Parsing message formats".

use crate::model::TopicArn;
use crate::notify::body::Body;
use crate::notify::{BadBody, Format, Notice, SetUp};

pub(super) const CONFIRMATION: Format = Format { name: "subscription-confirmation", read: confirmation };

pub(super) const END: Format = Format { name: "unsubscribe-confirmation", read: end };

fn confirmation(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let (topic, token) = topic_and_token(body, "SubscriptionConfirmation")?;
    let Some(topic) = TopicArn::parse(topic) else {
        return Some(Err(BadBody(format!(
            "a message asks to confirm the subscription of {topic:?}, which is not the ARN of an SNS topic; it is not \
             from SNS: look who may send to this queue"
        ))));
    };
    Some(Ok(Notice::about(CONFIRMATION.name, SetUp::Confirm { topic, token: token.to_owned() })))
}

fn end(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let (topic, _) = topic_and_token(body, "UnsubscribeConfirmation")?;
    Some(Ok(Notice::about(END.name, SetUp::Ended { topic: topic.to_owned() })))
}

fn topic_and_token<'b>(body: &'b Body<'_>, kind: &str) -> Option<(&'b str, &'b str)> {
    (body.text_at(&["Type"])? == kind).then_some(())?;
    Some((body.text_at(&["TopicArn"])?, body.text_at(&["Token"])?))
}
