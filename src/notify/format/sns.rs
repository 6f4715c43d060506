//! The envelope of an SNS topic: the notification is a string inside it.
//!
//! The signature is not checked: who may send is decided by the queue's policy.
//! Source: Amazon SNS developer guide, "Parsing message formats".

use crate::notify::body::Body;
use crate::notify::{BadBody, Format, MAX_ENVELOPES, Notice, read};

pub(super) const FORMAT: Format = Format { name: "sns", read: parse };

fn parse(body: &Body<'_>) -> Option<Result<Notice, BadBody>> {
    let (kind, message, topic) = (body.text_at(&["Type"])?, body.text_at(&["Message"])?, body.text_at(&["TopicArn"])?);
    if kind != "Notification" {
        return None;
    }
    if body.envelopes == MAX_ENVELOPES {
        return Some(Err(BadBody(format!(
            "the message is wrapped in more than {MAX_ENVELOPES} SNS envelopes, the innermost of topic {topic:?}; \
             subscribe the queue to the first topic instead of a chain of topics"
        ))));
    }
    let said = read(&Body::new(message, body.envelopes + 1));
    if body.envelopes > 0 {
        return Some(said);
    }
    // The outermost topic is the one that the queue is subscribed to, so it alone is named.
    Some(said.map_err(|BadBody(reason)| BadBody(format!("in an SNS message of topic {topic:?}: {reason}"))))
}
