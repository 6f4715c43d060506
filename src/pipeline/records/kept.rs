//! Rejects of an object that is gone: what their kept bytes tell, and no guess about what they don't.

use serde::de::IgnoredAny;

use super::{Found, Mending, PAGE};
use crate::logtype::{Classified, Classifier};
use crate::model::{Record, Reject, StreamType};
use crate::pipeline::stop::Stop;
use crate::runtime::blocking;

impl Mending<'_> {
    /// Classifies the `count` rejects from what was kept of them.
    pub(super) async fn take_kept(&mut self, count: usize, gone: &str) -> Result<(), Stop> {
        let kind = self.stream()?.kind;
        let mut classifier = self.classifier()?;
        if let Some(need) = need(kind, &classifier) {
            self.leave(count, &format!("{gone}; {need}"));
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.work.pipeline.state.rejects(self.token.object, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.ordinal);
            for reject in page {
                let gone = gone.to_owned();
                let found;
                (classifier, found) = blocking(move || {
                    let found = classify(&mut classifier, kind, reject, &gone);
                    (classifier, found)
                })
                .await;
                self.take(vec![found]).await?;
            }
        }
    }
}

/// What the records of such an object may need beside their own bytes.
fn need(kind: StreamType, classifier: &Classifier) -> Option<&'static str> {
    match kind {
        StreamType::CloudWatchLogs => Some("what the envelope said of its records was not kept with them"),
        StreamType::Auto => Some(
            "it may have been one of CloudWatch Logs, whose envelope is not kept; set the `stream_type` of its source \
             if it was none",
        ),
        _ if classifier.looks_back() => Some("a log type of its source needs what came before the record, as a header"),
        _ => None,
    }
}

fn classify(classifier: &mut Classifier, kind: StreamType, reject: Reject, gone: &str) -> Found {
    let (ordinal, bytes) = (reject.ordinal, reject.raw.len() as u64);
    let result = if reject.raw.len() >= Reject::RAW_LIMIT {
        // One of exactly the limit may be whole, and nothing can tell.
        Err(format!("its kept bytes are not all of it, and its object can't be used: {gone}"))
    } else if kind != StreamType::Lines && serde_json::from_slice::<IgnoredAny>(&reject.raw).is_err() {
        // It was never a record: those of all other streams are JSON.
        Err(format!("it is no JSON value, and its object can't be used: {gone}"))
    } else {
        match classifier.classify(&Record { ordinal, bytes: reject.raw, origin: None }) {
            Classified::Events(events) => Ok(events),
            Classified::Rejected(reject) => Err(reject.reason),
            Classified::Blank => Err("nothing but white space was kept of it".to_owned()),
        }
    };
    Found { ordinal, bytes, result }
}
