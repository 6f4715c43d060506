//! SQS over its JSON protocol: receive with long poll and real leases, delete, change of visibility, attributes.
//!
//! Source: Amazon SQS API reference. A handle of an older delivery deletes nothing and is answered with success, as
//! SQS does; the digests of bodies, which the SDK does not check, are left out.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Response;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::faults::{Moment, Refusal, Reset};
use super::server::{Asked, response};
use super::state::{Delivered, Handle, Op, QUEUE, State, message_of};

/// Of a queue whose creator said nothing.
const DEFAULT_LEASE: u64 = 30;

pub async fn answer(state: &State, action: &str, asked: &Asked) -> Result<Response<Body>, Reset> {
    let input: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let url = text(&input, "QueueUrl");
    if url.rsplit('/').next() != Some(QUEUE) {
        return Ok(refused(&Refusal::new(400, "QueueDoesNotExist", "The specified queue does not exist.")));
    }
    let result = match action {
        "ReceiveMessage" => receive(state, &input).await?,
        "DeleteMessage" => entry(state, Op::DeleteMessage, &input).await?.map(|()| json!({})),
        "ChangeMessageVisibility" => entry(state, Op::ChangeVisibility, &input).await?.map(|()| json!({})),
        "DeleteMessageBatch" => Ok(batch(state, Op::DeleteMessage, &input).await?),
        "ChangeMessageVisibilityBatch" => Ok(batch(state, Op::ChangeVisibility, &input).await?),
        "GetQueueAttributes" => attributes(state).await?,
        "SendMessage" => {
            let id = state.queue().send(text(&input, "MessageBody"));
            state.arrived.notify_waiters();
            Ok(json!({ "MessageId": id }))
        }
        _ => Err(Refusal::new(400, "InvalidAction", &format!("{action} is not part of this stand-in"))),
    };
    Ok(match result {
        Ok(output) => response(200, "application/x-amz-json-1.0", output.to_string()),
        Err(refusal) => refused(&refusal),
    })
}

async fn receive(state: &State, input: &Value) -> Result<Result<Value, Refusal>, Reset> {
    let effects = state.begins(Op::ReceiveMessage, "", "");
    if let Some(refusal) = effects.at(Moment::Before).await? {
        return Ok(Err(refusal));
    }
    let most = number(input, "MaxNumberOfMessages").unwrap_or(1).clamp(1, 10) as usize;
    let lease = Duration::from_secs(number(input, "VisibilityTimeout").unwrap_or(DEFAULT_LEASE));
    let end = Instant::now() + Duration::from_secs(number(input, "WaitTimeSeconds").unwrap_or(0));
    let delivered = poll(state, most, lease, end).await;
    if let Some(refusal) = effects.at(Moment::After).await? {
        return Ok(Err(refusal));
    }
    let messages: Vec<Value> = delivered.iter().map(message).collect();
    Ok(Ok(if messages.is_empty() { json!({}) } else { json!({ "Messages": messages }) }))
}

/// Waits for messages until `end`. A client that goes away meanwhile drops this, and leases nothing.
async fn poll(state: &State, most: usize, lease: Duration, end: Instant) -> Vec<Delivered> {
    loop {
        let arrived = state.arrived.notified();
        let (delivered, next) = {
            let mut queue = state.queue();
            (queue.receive(most, lease), queue.next_visible())
        };
        if !delivered.is_empty() || Instant::now() >= end {
            return delivered;
        }
        // The tests send past HTTP, too; they are not made to wake anybody.
        let next = next.unwrap_or(end).min(end).min(Instant::now() + Duration::from_millis(20));
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

fn message(delivered: &Delivered) -> Value {
    json!({
        "MessageId": delivered.id,
        "ReceiptHandle": delivered.handle,
        "Body": delivered.body,
        "Attributes": { "ApproximateReceiveCount": delivered.receives.to_string() },
    })
}

/// A call about one message, or one entry of a batch.
async fn entry(state: &State, op: Op, input: &Value) -> Result<Result<(), Refusal>, Reset> {
    let handle = text(input, "ReceiptHandle");
    let subject = message_of(handle);
    let visibility = number(input, "VisibilityTimeout");
    let effects = state.begins(op, &subject, visibility.map(|seconds| seconds.to_string()).unwrap_or_default());
    if let Some(refusal) = effects.at(Moment::Before).await? {
        return Ok(Err(refusal));
    }
    let applied = match visibility {
        Some(seconds) if op == Op::ChangeVisibility => change(state, handle, seconds),
        _ => delete(state, handle),
    };
    if applied.is_err() {
        return Ok(applied);
    }
    Ok(match effects.at(Moment::After).await? {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    })
}

fn delete(state: &State, handle: &str) -> Result<(), Refusal> {
    let mut queue = state.queue();
    match queue.handle(handle) {
        Handle::Current { number, .. } => queue.delete(number),
        Handle::Stale | Handle::Gone => {}
    }
    Ok(())
}

fn change(state: &State, handle: &str, seconds: u64) -> Result<(), Refusal> {
    let mut queue = state.queue();
    match queue.handle(handle) {
        Handle::Current { number, leased: true } => queue.change_visibility(number, Duration::from_secs(seconds)),
        Handle::Current { .. } | Handle::Stale => {
            return Err(Refusal::new(400, "MessageNotInflight", "The specified message isn't in flight."));
        }
        Handle::Gone => {
            let reason = "Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not \
                          available for visibility timeout change.";
            return Err(Refusal::new(400, "InvalidParameterValue", reason));
        }
    }
    drop(queue);
    state.arrived.notify_waiters();
    Ok(())
}

/// All entries at once; what fails, fails alone.
async fn batch(state: &State, op: Op, input: &Value) -> Result<Value, Reset> {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    let entries = input["Entries"].as_array().into_iter().flatten();
    for (one, result) in join_all(entries.map(async |one| (one, entry(state, op, one).await))).await {
        match result? {
            Ok(()) => successful.push(json!({ "Id": one["Id"] })),
            Err(Refusal { status, code, message }) => failed.push(json!({
                "Id": one["Id"], "SenderFault": status < 500, "Code": code, "Message": message,
            })),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

async fn attributes(state: &State) -> Result<Result<Value, Refusal>, Reset> {
    if let Some(refusal) = state.begins(Op::GetQueueAttributes, "", "").at(Moment::Before).await? {
        return Ok(Err(refusal));
    }
    let (waiting, in_flight) = state.queue().depth();
    Ok(Ok(json!({ "Attributes": {
        "ApproximateNumberOfMessages": waiting.to_string(),
        "ApproximateNumberOfMessagesNotVisible": in_flight.to_string(),
        "ApproximateNumberOfMessagesDelayed": "0",
        "VisibilityTimeout": DEFAULT_LEASE.to_string(),
    } })))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let body = json!({ "__type": format!("com.amazonaws.sqs#{}", refusal.code), "message": refusal.message });
    let mut response = response(refusal.status, "application/x-amz-json-1.0", body.to_string());
    let fault = if refusal.status < 500 { "Sender" } else { "Receiver" };
    let code = if refusal.code == "QueueDoesNotExist" { "NonExistentQueue" } else { refusal.code };
    let old = format!("AWS.SimpleQueueService.{code};{fault}");
    response.headers_mut().insert("x-amzn-query-error", old.parse().expect("it is ASCII"));
    response
}

fn text<'v>(input: &'v Value, name: &str) -> &'v str {
    input[name].as_str().unwrap_or_default()
}

fn number(input: &Value, name: &str) -> Option<u64> {
    input[name].as_u64()
}
