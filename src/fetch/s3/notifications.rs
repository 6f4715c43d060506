//! What a bucket's notifications say.
//!
//! Source: Amazon S3 API reference, "GetBucketNotificationConfiguration".

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_bucket_notification_configuration::{
    GetBucketNotificationConfigurationError, GetBucketNotificationConfigurationOutput,
};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::types::{Event, FilterRuleName, NotificationConfigurationFilter};

use super::S3Store;
use super::request::GetError;
use super::signed::Signed;
use crate::fetch::{Announcement, Announcements, FetchError, Target};
use crate::model::{Access, ObjectRef};

#[async_trait]
impl Announcements for S3Store {
    async fn announcements(&self, access: &Access, bucket: &str) -> Result<Vec<Announcement>, FetchError> {
        // For the region and for what a failure is about.
        let place = ObjectRef {
            bucket: bucket.to_owned(),
            key: String::new(),
            version_id: None,
            etag: None,
            size: None,
            region: None,
            sequencer: None,
        };
        let request = self.request(access, &place);
        let answer = request.persist(|client, signed| ask(access, bucket, client, signed)).await;
        let answer = answer.map_err(|refused| match refused.into_error(&place) {
            FetchError::Forbidden(why, text) => {
                let text = format!("{text}; its notifications are told to who has s3:GetBucketNotification");
                FetchError::Forbidden(why, text)
            }
            other => other,
        })?;
        Ok(read(answer.output))
    }
}

async fn ask(
    access: &Access,
    bucket: &str,
    client: Client,
    signed: Signed,
) -> Result<GetBucketNotificationConfigurationOutput, GetError> {
    let ask = client.get_bucket_notification_configuration().bucket(bucket);
    let ask = ask.set_expected_bucket_owner(access.account_id.clone()).customize().interceptor(signed);
    // S3's errors are told apart by their codes, which this keeps.
    ask.send().await.map_err(|error| {
        error.map_service_error(|error: GetBucketNotificationConfigurationError| {
            GetObjectError::generic(error.meta().clone())
        })
    })
}

fn read(answer: GetBucketNotificationConfigurationOutput) -> Vec<Announcement> {
    let topics = answer.topic_configurations.unwrap_or_default().into_iter();
    let topics = topics.map(|entry| (Target::Topic(entry.topic_arn), entry.events, entry.filter));
    let queues = answer.queue_configurations.unwrap_or_default().into_iter();
    let queues = queues.map(|entry| (Target::Queue(entry.queue_arn), entry.events, entry.filter));
    let functions = answer.lambda_function_configurations.unwrap_or_default().into_iter();
    let functions = functions.map(|entry| (Target::Function(entry.lambda_function_arn), entry.events, entry.filter));
    let entries = topics.chain(queues).chain(functions);
    let mut found: Vec<Announcement> =
        entries.filter_map(|(target, events, filter)| announcement(target, &events, filter.as_ref())).collect();
    if answer.event_bridge_configuration.is_some() {
        let (prefix, suffix) = (String::new(), String::new());
        found.push(Announcement { target: Target::EventBridge, prefix, suffix, all_ways: true });
    }
    found
}

/// `None` for an entry that is not about new objects.
fn announcement(
    target: Target,
    events: &[Event],
    filter: Option<&NotificationConfigurationFilter>,
) -> Option<Announcement> {
    let created = |event: &&Event| event.as_str().starts_with("s3:ObjectCreated:");
    events.iter().find(created)?;
    let rules = filter.and_then(|filter| filter.key()).map(|key| key.filter_rules()).unwrap_or_default();
    let rule = |name: &FilterRuleName| {
        // S3 answers with a capital letter to what was written without.
        let named = |found: &FilterRuleName| found.as_str().eq_ignore_ascii_case(name.as_str());
        let rule = rules.iter().find(|rule| rule.name().is_some_and(named));
        rule.and_then(|rule| rule.value()).unwrap_or_default().to_owned()
    };
    Some(Announcement {
        target,
        prefix: rule(&FilterRuleName::Prefix),
        suffix: rule(&FilterRuleName::Suffix),
        all_ways: events.contains(&Event::S3ObjectCreated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{FilterRule, QueueConfiguration, S3KeyFilter, TopicConfiguration};

    #[test]
    fn entries_about_new_objects_are_found_with_their_filters() {
        let rule =
            |name: &str, value: &str| FilterRule::builder().name(FilterRuleName::from(name)).value(value).build();
        let key = S3KeyFilter::builder().filter_rules(rule("Prefix", "logs/")).filter_rules(rule("suffix", ".gz"));
        let filter = NotificationConfigurationFilter::builder().key(key.build()).build();
        let topic = TopicConfiguration::builder().topic_arn("t").events(Event::S3ObjectCreated);
        let put = QueueConfiguration::builder().queue_arn("q").events(Event::S3ObjectCreatedPut).filter(filter);
        let removed = QueueConfiguration::builder().queue_arn("r").events(Event::S3ObjectRemoved);
        let answer = GetBucketNotificationConfigurationOutput::builder()
            .topic_configurations(topic.build().unwrap())
            .queue_configurations(put.build().unwrap())
            .queue_configurations(removed.build().unwrap())
            .build();
        let found = read(answer);
        let [all, some] = &found[..] else { panic!("two entries: {found:?}") };
        assert_eq!(all.target, Target::Topic("t".into()));
        assert!(all.all_ways && all.covers("") && all.covers("logs/"));
        assert_eq!((some.prefix.as_str(), some.suffix.as_str(), some.all_ways), ("logs/", ".gz", false));
        assert!(!some.covers("logs/"), "objects that end otherwise are not told of");
    }
}
