//! SNS asks the queue's owner to confirm a subscription, or tells that one has ended.
//!
//! Neither names an object. The URL inside is never fetched: the message may come from anybody who may send.

use crate::notify::body::Body;
use crate::notify::{BadBody, Format, Notice};

pub(super) const CONFIRMATION: Format = Format { name: "subscription-confirmation", read: confirmation };

pub(super) const END: Format = Format { name: "unsubscribe-confirmation", read: end };

fn confirmation(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let topic = topic_of(body, "SubscriptionConfirmation")?;
    Some(Err(BadBody(format!(
        "topic {topic:?} asks to confirm its subscription to this queue; if it is yours, confirm it with the SNS API \
         (aws sns confirm-subscription --topic-arn … --token …, with the token of this message)"
    ))))
}

fn end(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let topic = topic_of(body, "UnsubscribeConfirmation")?;
    Some(Err(BadBody(format!(
        "topic {topic:?} has ended its subscription to this queue and will announce no more objects; if that was not \
         wanted, subscribe the queue again with the SNS API (aws sns subscribe --topic-arn … --protocol sqs)"
    ))))
}

fn topic_of<'b>(body: &'b Body<'_>, kind: &str) -> Option<&'b str> {
    body.text_at(&["Token"])?;
    (body.text_at(&["Type"])? == kind).then_some(())?;
    body.text_at(&["TopicArn"])
}
