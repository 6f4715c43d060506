//! A stand-in for AWS that is fast and fails on demand: SQS, S3, STS and one call of SNS, from memory, in the test
//! process.
//!
//! ```ignore
//! let cloud = Cloud::start();
//! cloud.fault(on(Op::GetObject).about("a.gz").does(Effect::BreakAfter(1000)));
//! cloud.put("a.gz", gzip(logins(3)));
//! // … a daemon with `cloud.env()` reads `cloud.queue_url()` …
//! assert_eq!(cloud.calls(Op::GetObject).len(), 2);
//! ```
//!
//! It has one queue and any number of buckets, and checks no signature. Whether it speaks the protocol rightly is not
//! for itself to say: the contract suites of queues and stores run on it and on the API server of [`crate::aws`].
//! `state` holds what there is, `sqs`, `s3` and `sts` are the calls, `faults` what goes wrong, `server` the HTTP.

mod faults;
mod s3;
mod server;
mod sqs;
mod state;
mod sts;

use std::sync::Arc;

use aws_credential_types::Credentials;
use tokio::runtime::Runtime;

pub use faults::{Effect, Gate, Moment, Refusal, on};
pub use state::{Call, Content, Op};

use crate::aws::{ACCOUNT, REGION};
use state::State;

/// The bucket whose objects are announced by [`Cloud::put`].
pub const BUCKET: &str = "logs";

/// A server of its own; it ends with this value.
pub struct Cloud {
    state: Arc<State>,
    endpoint: String,
    /// Own threads: a test that blocks does not stop the server that it waits for.
    runtime: Option<Runtime>,
}

impl Cloud {
    pub fn start() -> Cloud {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("build a runtime");
        let state = Arc::new(State::new());
        state.store(BUCKET, REGION);
        let endpoint = server::start(&runtime, state.clone());
        Cloud { state, endpoint, runtime: Some(runtime) }
    }

    /// What a margay process needs in its environment to use this server and no other AWS.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", state::OWN_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ]
    }

    /// The same for adapters in this process.
    pub async fn sdk(&self) -> aws_config::SdkConfig {
        margay::aws::loader()
            .endpoint_url(&self.endpoint)
            .region(REGION)
            .credentials_provider(Credentials::new(state::OWN_KEY, "secret", None, None, "tests"))
            .load()
            .await
    }

    pub fn queue_url(&self) -> String {
        format!("{}/{ACCOUNT}/{}", self.endpoint, state::QUEUE)
    }

    /// A role that may be assumed to read every bucket.
    pub fn role_arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role/reader")
    }

    /// From now on a call can go wrong. The fault that was set first comes first.
    pub fn fault(&self, script: faults::Script) {
        self.state.fault(script);
    }

    /// Puts any body into the queue; the message's id.
    pub fn send(&self, body: &str) -> String {
        self.state.queue().send(body)
    }

    /// Makes a message visible at once, although somebody has it: its lease has ended, or SQS delivers it twice.
    /// Nothing happens when it is gone.
    pub fn deliver_again(&self, id: &str) {
        self.state.queue().end_lease(id);
    }

    /// The leases of all messages end: so much time has passed.
    pub fn end_leases(&self) {
        self.state.queue().end_leases();
    }

    /// The delays of all messages that were handed back end. For leases of other lengths than the delays.
    pub fn end_delays(&self) {
        self.state.queue().end_delays();
    }

    /// How often a message was handed back.
    pub fn hand_backs(&self, id: &str) -> u32 {
        self.state.queue().hand_backs(id)
    }

    /// How often a message was delivered.
    pub fn receives(&self, id: &str) -> u32 {
        self.state.queue().receives(id)
    }

    /// Stores an object and announces it; the message's id.
    pub fn put(&self, key: &str, content: impl Into<Content>) -> String {
        let etag = self.store(key, content);
        self.send(&notification(&[record("ObjectCreated:Put", BUCKET, key, Some(&etag))]))
    }

    /// Stores an object that nobody is told of; its ETag.
    pub fn store(&self, key: &str, content: impl Into<Content>) -> String {
        self.state.put(BUCKET, key, content.into())
    }

    pub fn remove(&self, key: &str) {
        self.state.remove(BUCKET, key);
    }

    /// A bucket of another region.
    pub fn bucket_in(&self, bucket: &str, region: &str) {
        self.state.store(bucket, region);
    }

    /// As [`Cloud::put`], in a bucket of any name.
    pub fn put_into(&self, bucket: &str, key: &str, content: impl Into<Content>) -> String {
        let etag = self.state.put(bucket, key, content.into());
        self.send(&notification(&[record("ObjectCreated:Put", bucket, key, Some(&etag))]))
    }

    /// The sessions of assumed roles so far are worth nothing from now on; S3 answers them with this.
    pub fn end_sessions(&self, refusal: Refusal) {
        self.state.end_sessions(refusal);
    }

    /// Messages in the queue, waiting and in flight.
    pub fn depth(&self) -> (usize, usize) {
        self.state.queue().depth()
    }

    /// Ids of the messages that were deleted, in order.
    pub fn deleted(&self) -> Vec<String> {
        self.state.queue().deleted().to_vec()
    }

    /// Calls of one kind so far, in order of their arrival.
    pub fn calls(&self, op: Op) -> Vec<Call> {
        self.state.calls(op)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Without waiting: a test may be async itself, and a call may hang at a gate.
            runtime.shutdown_background();
        }
    }
}

/// One record of S3's notification.
pub fn record(event: &str, bucket: &str, key: &str, etag: Option<&str>) -> serde_json::Value {
    let key = percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string();
    serde_json::json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": event,
        "s3": { "bucket": { "name": bucket }, "object": { "key": key, "eTag": etag.map(|e| e.trim_matches('"')) } },
    })
}

/// S3's notification of these records.
pub fn notification(records: &[serde_json::Value]) -> String {
    serde_json::json!({ "Records": records }).to_string()
}
