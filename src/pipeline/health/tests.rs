//! What each answer means for a step. The way through real answers is a story of the integration tests.

use std::sync::Arc;

use time::macros::datetime;

use super::steps;
use super::*;
use crate::fetch::{Announcement, Region, Target};
use crate::model::Access;
use crate::pipeline::explain::{Halt, ReadTold};
use crate::queue::{QueueError, QueueFacts};
use crate::source::{PrefixConfig, SourceConfig, SourceTable};

const QUEUE: &str = "arn:aws:sqs:eu-central-1:999988887777:margay";
const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:logs";

fn access() -> Access {
    Access {
        source: "trail".into(),
        role_arn: Some("arn:aws:iam::111122223333:role/r".into()),
        external_id: Some("id".into()),
        region: Some("eu-west-1".into()),
        ..Access::default()
    }
}

fn scope(prefixes: &[&str]) -> Scope {
    let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    Scope { access: Arc::new(access()), bucket: "acme".into(), prefixes }
}

fn listed(listing: Result<Page, FetchError>) -> Vec<(String, Result<Page, FetchError>)> {
    vec![("a/".into(), listing)]
}

fn forbidden<T>(refusal: Refusal) -> Result<T, FetchError> {
    Err(FetchError::Forbidden(refusal, "why".into()))
}

fn announcement(target: Target, prefix: &str) -> Announcement {
    Announcement { target, prefix: prefix.into(), suffix: String::new(), all_ways: true }
}

fn topic() -> Announcement {
    announcement(Target::Topic(TOPIC.into()), "")
}

#[track_caller]
fn is(check: &Check, verdict: Verdict, words: &str) {
    let text = format!("{} {}", check.message, check.fix.clone().unwrap_or_default());
    assert_eq!(check.verdict, verdict, "{text}");
    assert!(text.contains(words), "{text}");
    assert!(
        verdict != Verdict::Failed || check.fix.is_some() || text.contains("reach"),
        "a failure has a remedy: {text}"
    );
}

#[test]
fn a_role_is_well_when_it_insists_on_the_external_id() {
    let well = listed(Ok(Page::default()));
    is(&steps::role(&access(), &well, false), Verdict::Healthy, "external id");
    is(&steps::role(&access(), &well, true), Verdict::Warning, "sts:ExternalId");
    let without = Access { external_id: None, ..access() };
    is(&steps::role(&without, &well, false), Verdict::Warning, "set external_id");
    is(&steps::role(&Access::default(), &well, false), Verdict::Healthy, "itself");
    let refused = listed(forbidden(Refusal::AssumeRoleDenied));
    is(&steps::role(&access(), &refused, false), Verdict::Failed, "margay source template iam --source trail");
    let silent = listed(Err(FetchError::Unavailable("no answer".into())));
    is(&steps::role(&access(), &silent, false), Verdict::Unknown, "next step");
}

#[test]
fn a_bucket_is_somewhere_or_nowhere() {
    let region = |name: &str| Some(Region { name: name.into(), from: "the answer of S3" });
    let well = listed(Ok(Page::default()));
    is(&steps::bucket(&scope(&["a/"]), &well, region("eu-west-1")), Verdict::Healthy, "eu-west-1");
    is(&steps::bucket(&scope(&["a/"]), &well, region("us-east-1")), Verdict::Warning, "region = \"us-east-1\"");
    let gone = listed(Err(FetchError::NoBucket("gone".into())));
    is(&steps::bucket(&scope(&["a/"]), &gone, None), Verdict::Failed, "no_such_bucket");
    let denied = listed(forbidden(Refusal::AccessDenied));
    is(&steps::list(&denied), Verdict::Failed, "s3:ListBucket");
    is(&steps::list(&well), Verdict::Healthy, "no object yet below \"a/\"");
}

#[test]
fn reading_proves_the_key() {
    let object = |stop: Option<&'static str>| ObjectTold {
        address: "s3://acme/a/1".into(),
        read: stop
            .is_none()
            .then(|| ReadTold { events_by_log_type: [("X.Y".to_owned(), 1)].into(), ..ReadTold::default() }),
        stop: stop.map(|at| Halt { at, why: "why".into(), then: String::new() }),
        ..ObjectTold::default()
    };
    let with_key = Access { kms_key_arn: Some("key".into()), ..access() };
    is(&steps::key(&access(), None, &[]), Verdict::Healthy, "no KMS key was specified");
    is(&steps::key(&with_key, None, &[]), Verdict::Unknown, "key");
    is(&steps::key(&with_key, None, &[object(None)]), Verdict::Healthy, "read");
    is(&steps::key(&access(), None, &[object(Some("KMS"))]), Verdict::Failed, "kms:Decrypt");
    is(&steps::read(&[object(None)]), Verdict::Healthy, "events of X.Y");
    is(&steps::read(&[object(Some("log types"))]), Verdict::Failed, "margay explain 's3://acme/a/1'");
    is(&steps::read(&[object(Some("archive"))]), Verdict::Warning, "archive");
    is(&steps::read(&[]), Verdict::Unknown, "no object");
}

#[test]
fn a_key_is_as_kms_says() {
    let arn = "arn:aws:kms:us-west-2:111122223333:key/1a2b";
    let with_key = Access { kms_key_arn: Some(arn.into()), ..access() };
    let object = |at: Option<&'static str>| ObjectTold {
        read: at.is_none().then(ReadTold::default),
        stop: at.map(|at| Halt { at, why: "why".into(), then: String::new() }),
        ..ObjectTold::default()
    };
    let is_in = |state: &str| Some(Ok(KeyState(state.to_owned())));
    let denied = || Some(Err(KeyError::Denied("denied".into())));
    is(&steps::key(&with_key, is_in("Enabled"), &[]), Verdict::Healthy, "enabled");
    is(&steps::key(&with_key, is_in("Enabled"), &[object(None)]), Verdict::Healthy, "was read");
    is(&steps::key(&with_key, is_in("Enabled"), &[object(Some("KMS"))]), Verdict::Failed, "kms:Decrypt");
    // What is read may have been written under another key.
    for told in [vec![], vec![object(None)], vec![object(Some("KMS"))]] {
        let check = steps::key(&with_key, is_in("Disabled"), &told);
        is(&check, Verdict::Failed, &format!("aws kms enable-key --region us-west-2 --key-id {arn}"));
        is(&steps::key(&with_key, is_in("PendingDeletion"), &told), Verdict::Failed, "cancel-key-deletion");
    }
    is(&steps::key(&with_key, denied(), &[]), Verdict::Failed, "kms:DescribeKey");
    is(&steps::key(&with_key, denied(), &[object(None)]), Verdict::Healthy, "no hindrance");
    is(
        &steps::key(&with_key, Some(Err(KeyError::Missing("gone".into()))), &[]),
        Verdict::Failed,
        "correct kms_key_arn",
    );
    let silent = Some(Err(KeyError::Unavailable("no answer".into())));
    is(&steps::key(&with_key, silent, &[]), Verdict::Unknown, "no answer");
}

#[test]
fn objects_are_encrypted_by_the_key_that_the_role_may_use() {
    let with_key = Access { kms_key_arn: Some("mine".into()), ..access() };
    let by = |key: &str| Ok(Some(key.to_owned()));
    is(&steps::encryption(&with_key, &[by("mine")]), Verdict::Healthy, "the source's key");
    is(&steps::encryption(&with_key, &[Ok(None)]), Verdict::Healthy, "no key of yours");
    is(&steps::encryption(&with_key, &[by("mine"), by("other")]), Verdict::Warning, "kms_key_arn = \"other\"");
    is(&steps::encryption(&access(), &[by("other")]), Verdict::Warning, "names no key");
    is(&steps::encryption(&access(), &[Ok(None)]), Verdict::Healthy, "no key of yours");
    is(&steps::encryption(&access(), &[]), Verdict::Unknown, "no object");
    let failed = Err(FetchError::Unavailable("no answer".into()));
    is(&steps::encryption(&access(), &[Ok(None), failed]), Verdict::Unknown, "no answer");
}

#[test]
fn every_prefix_has_to_be_announced() {
    let of = |announced: Vec<Announcement>| steps::notification(&scope(&["a/", "b/"]), &Ok(announced));
    is(&of(vec![topic()]), Verdict::Healthy, "announced");
    is(
        &of(vec![announcement(Target::EventBridge, "a/"), announcement(Target::EventBridge, "b")]),
        Verdict::Healthy,
        "",
    );
    is(&of(vec![announcement(Target::Topic(TOPIC.into()), "a/")]), Verdict::Failed, "\"b/\"");
    is(&of(Vec::new()), Verdict::Failed, "template bucket --source trail --format json");
    is(&of(vec![Announcement { suffix: ".gz".into(), ..topic() }]), Verdict::Failed, "\"a/\", \"b/\"");
    is(&of(vec![Announcement { all_ways: false, ..topic() }]), Verdict::Warning, "s3:ObjectCreated:*");
    let unseen = steps::notification(&scope(&["a/"]), &forbidden(Refusal::AccessDenied));
    is(&unseen, Verdict::Unknown, "s3:GetBucketNotification");
}

#[test]
fn the_announcement_has_to_come_to_this_queue() {
    let config = SourceConfig {
        account_id: Some("111122223333".into()),
        ..SourceConfig::new(
            "trail",
            "acme",
            vec![PrefixConfig { log_types: vec!["X.Y".into()], ..PrefixConfig::default() }],
        )
    };
    let sources = SourceTable::new(&[config]).unwrap();
    let facts = QueueFacts { arn: QUEUE.into(), policy: None, has_dead_letters: true };
    let of =
        |target: Target| steps::topic(&scope(&["a/"]), &[announcement(target, "")], Some(&facts), &sources).unwrap();
    is(&of(Target::Topic(TOPIC.into())), Verdict::Unknown, "aws sns list-subscriptions-by-topic");
    is(&of(Target::Topic(TOPIC.replace("1111", "4444"))), Verdict::Failed, "account_id");
    is(&of(Target::Queue(QUEUE.into())), Verdict::Healthy, "directly");
    is(&of(Target::Queue(TOPIC.into())), Verdict::Failed, "not margay's queue");
    is(&of(Target::Function("f".into())), Verdict::Failed, "function");
    is(&of(Target::EventBridge), Verdict::Unknown, "EventBridge");
}

#[test]
fn the_queue_has_to_let_the_topic_send() {
    let allowing = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"sqs:SendMessage"}}"#;
    let facts = |policy: Option<&str>, has_dead_letters| {
        Ok(QueueFacts { arn: QUEUE.into(), policy: policy.map(str::to_owned), has_dead_letters })
    };
    let of = |facts| steps::queue(&scope(&["a/"]), &[topic()], facts);
    is(&of(facts(Some(allowing), true)), Verdict::Healthy, QUEUE);
    is(&of(facts(Some(allowing), false)), Verdict::Warning, "dead-letter");
    is(&of(facts(None, true)), Verdict::Failed, "account 111122223333");
    is(&of(Err(QueueError::Unavailable("can't be reached".into()))), Verdict::Failed, "reached");
}

#[test]
fn what_was_kept_aside_is_counted_with_the_first_reason() {
    let now = datetime!(2026-01-15 12:00 UTC);
    let silence = Some(Duration::hours(1));
    let came = |last| Came { last, silence, now };
    let recent = came(Some(now - Duration::minutes(59)));
    is(&steps::flow("trail", &recent, &[]), Verdict::Healthy, "the last event came at 2026-01-15T11:01:00");
    let old = came(Some(now - Duration::minutes(61)));
    is(&steps::flow("trail", &old, &[]), Verdict::Warning, "longer ago than silent_after_minutes");
    let any = Came { silence: None, ..came(Some(now - Duration::days(9))) };
    is(&steps::flow("trail", &any, &[]), Verdict::Healthy, "no object");
    is(&steps::flow("trail", &came(None), &[]), Verdict::Unknown, "no event has come from it yet");
    let kept = [(ObjectState::Parked, 3, "access_denied: why".to_owned()), (ObjectState::Missing, 1, String::new())];
    is(&steps::flow("trail", &recent, &kept), Verdict::Warning, "3 parked, 1 missing; the first: access_denied: why");
}
