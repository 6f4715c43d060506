//! The batch calls of SQS. Each answers entry by entry: which succeeded, and why the others did not.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
};
use futures_util::FutureExt;

use super::batch::{Batches, Failure, Outcome};
use super::cause;

/// A message that is removed.
#[derive(Clone)]
pub(super) struct Deletion {
    pub(super) handle: String,
}

/// A message that becomes visible so many seconds from now.
#[derive(Clone)]
pub(super) struct Visibility {
    pub(super) handle: String,
    pub(super) seconds: i32,
}

pub(super) fn deletions(client: Client, url: String) -> Batches<Deletion> {
    Batches::new(move |entries: Vec<Deletion>| {
        let count = entries.len();
        let entries = entries.into_iter().enumerate().map(|(id, Deletion { handle })| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string()).receipt_handle(handle);
            entry.build().expect("id and handle are given")
        });
        let call = client.delete_message_batch().queue_url(&url).set_entries(Some(entries.collect())).send();
        async move {
            match call.await {
                Ok(answer) => outcomes(count, answer.successful.iter().map(|entry| &*entry.id), answer.failed),
                Err(error) => vec![Err(Failure::Call(cause(&error, "sqs:DeleteMessage"))); count],
            }
        }
        .boxed()
    })
}

pub(super) fn visibilities(client: Client, url: String) -> Batches<Visibility> {
    Batches::new(move |entries: Vec<Visibility>| {
        let count = entries.len();
        let entries = entries.into_iter().enumerate().map(|(id, Visibility { handle, seconds })| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id.to_string()).receipt_handle(handle);
            entry.visibility_timeout(seconds).build().expect("id and handle are given")
        });
        let call = client.change_message_visibility_batch().queue_url(&url).set_entries(Some(entries.collect())).send();
        async move {
            match call.await {
                Ok(answer) => outcomes(count, answer.successful.iter().map(|entry| &*entry.id), answer.failed),
                Err(error) => vec![Err(Failure::Call(cause(&error, "sqs:ChangeMessageVisibility"))); count],
            }
        }
        .boxed()
    })
}

/// One outcome an entry; its id is its place.
fn outcomes<'a>(
    count: usize,
    successful: impl Iterator<Item = &'a str>,
    failed: Vec<BatchResultErrorEntry>,
) -> Vec<Outcome> {
    let mut told: HashMap<String, Outcome> = successful.map(|id| (id.to_owned(), Ok(()))).collect();
    for BatchResultErrorEntry { id, sender_fault, code, message, .. } in failed {
        told.insert(id, Err(Failure::Entry { code, reason: message.unwrap_or_default(), sender_fault }));
    }
    // An entry that SQS says nothing of is not known to have succeeded.
    let untold =
        || Failure::Entry { code: "NoAnswer".into(), reason: "SQS said nothing of it".into(), sender_fault: false };
    (0..count).map(|place| told.remove(&place.to_string()).unwrap_or_else(|| Err(untold()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_its_outcome_even_one_that_sqs_forgot() {
        let failed = BatchResultErrorEntry::builder().id("2").sender_fault(true).code("ReceiptHandleIsInvalid");
        let outcomes = outcomes(4, ["3", "0"].into_iter(), vec![failed.build().unwrap()]);
        assert_eq!((&outcomes[0], &outcomes[3]), (&Ok(()), &Ok(())));
        assert!(matches!(&outcomes[1], Err(Failure::Entry { sender_fault: false, .. })));
        let refused =
            Failure::Entry { code: "ReceiptHandleIsInvalid".into(), reason: String::new(), sender_fault: true };
        assert_eq!(outcomes[2], Err(refused));
    }
}
