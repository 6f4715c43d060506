//! What an answer means for a step, and what to do about it. Pure.

use super::queue_policy::{self, Answer};
use super::{Came, Check, Verdict};
use crate::fetch::{Announcement, FetchError, Page, Refusal, Region, Target};
use crate::model::{Access, TopicArn, rfc3339};
use crate::pipeline::explain::{Halt, ObjectTold};
use crate::queue::{QueueError, QueueFacts};
use crate::source::{KeyError, KeyState, Scope, SourceTable};
use crate::state::ObjectState;

type Listings = [(String, Result<Page, FetchError>)];

fn check(check: &'static str, verdict: Verdict, message: impl Into<String>) -> Check {
    Check { check, verdict, message: message.into(), fix: None }
}

impl Check {
    fn fix(self, fix: impl Into<String>) -> Check {
        Check { fix: Some(fix.into()), ..self }
    }
}

/// A command about a source, ready to be run.
fn command(command: &str, source: &str, rest: &str) -> String {
    let name = if source.contains(' ') { format!("'{source}'") } else { source.to_owned() };
    format!("margay {command} --source {name}{rest}")
}

pub(super) fn role(access: &Access, listings: &Listings, opens_without_id: bool) -> Check {
    let refused = listings.iter().find_map(|(_, listing)| match listing {
        Err(FetchError::Forbidden(Refusal::AssumeRoleDenied, text)) => Some(text),
        _ => None,
    });
    match (&access.role_arn, refused) {
        (_, Some(text)) => check("role", Verdict::Failed, text.as_str())
            .fix(format!("compare the role with `{}`", command("source template iam", &access.source, ""))),
        (None, None) => check("role", Verdict::Healthy, "no role is configured; margay reads as itself"),
        (Some(role), None) if !listings.iter().any(|(_, listing)| is_about_objects(listing)) => {
            check("role", Verdict::Unknown, format!("whether {role} can be assumed is not known; see the next step"))
        }
        (Some(role), None) if opens_without_id => {
            check("role", Verdict::Warning, format!("{role} can be assumed without the external id, too"))
                .fix("add the condition sts:ExternalId to the role's trust policy")
        }
        (Some(role), None) if access.external_id.is_none() => {
            check("role", Verdict::Warning, format!("{role} was assumed; the source has no external id"))
                .fix("set external_id, and ask for it in the role's trust policy")
        }
        (Some(role), None) => check("role", Verdict::Healthy, format!("{role} was assumed with the external id")),
    }
}

/// S3 has answered in somebody's name.
fn is_about_objects(listing: &Result<Page, FetchError>) -> bool {
    !matches!(listing, Err(FetchError::Unavailable(_) | FetchError::Throttled(_)))
}

pub(super) fn bucket(scope: &Scope, listings: &Listings, region: Option<Region>) -> Check {
    let bucket = &scope.bucket;
    for (_, listing) in listings {
        match listing {
            Err(error @ FetchError::NoBucket(_)) => {
                return check("bucket", Verdict::Failed, error.to_string())
                    .fix("correct `bucket`; a bucket that is to be made: margay source template bucket");
            }
            Err(error @ (FetchError::Unavailable(_) | FetchError::Throttled(_))) => {
                return check("bucket", Verdict::Failed, error.to_string());
            }
            _ => {}
        }
    }
    let Some(Region { name, from }) = region else {
        return check("bucket", Verdict::Healthy, format!("{bucket} is there"));
    };
    match &scope.access.region {
        Some(configured) if *configured != name => {
            check("bucket", Verdict::Warning, format!("{bucket} is in {name} ({from} says so), not in {configured}"))
                .fix(format!("set region = {name:?}; templates are made for it"))
        }
        _ => check("bucket", Verdict::Healthy, format!("{bucket} is there, in {name}")),
    }
}

/// `state` is what KMS says of the source's key, if it was asked.
pub(super) fn key(access: &Access, state: Option<Result<KeyState, KeyError>>, told: &[ObjectTold]) -> Check {
    let refused = told.iter().filter_map(|object| object.stop.as_ref()).find(|stop| stop.at == "KMS");
    let was_read = told.iter().any(|object| object.read.is_some());
    let Some(key) = &access.kms_key_arn else {
        return match refused {
            Some(stop) => not_allowed(&stop.why),
            None => check("kms", Verdict::Healthy, "no KMS key was specified"),
        };
    };
    match (state, refused) {
        (Some(Ok(state)), _) if !state.is_usable() => unusable(key, &state),
        (Some(Err(KeyError::Missing(text))), _) => {
            check("kms", Verdict::Failed, text).fix("correct kms_key_arn; a key is known in its own region only")
        }
        (_, Some(stop)) => not_allowed(&stop.why),
        (Some(Ok(_)), None) if was_read => {
            check("kms", Verdict::Healthy, format!("{key} is enabled, and an object was read"))
        }
        (Some(Ok(_)), None) => check("kms", Verdict::Healthy, format!("{key} is enabled; no object was read with it yet")),
        (_, None) if was_read => check("kms", Verdict::Healthy, format!("an object was read; {key} was no hindrance")),
        (Some(Err(KeyError::Denied(text))), None) => check("kms", Verdict::Failed, text).fix(
            "allow kms:DescribeKey and kms:Decrypt on the key to the role in its own policy, and in the key's policy if \
             the key is in another account",
        ),
        (Some(Err(error)), None) => check("kms", Verdict::Unknown, error.to_string()),
        (None, None) => check("kms", Verdict::Unknown, format!("no object was read that would prove {key}")),
    }
}

fn not_allowed(why: &str) -> Check {
    check("kms", Verdict::Failed, why).fix(
        "allow kms:Decrypt to the role in its own policy, and in the key's policy if the key is in another account",
    )
}

fn unusable(key: &str, KeyState(state): &KeyState) -> Check {
    let region = key.split(':').nth(3).unwrap_or_default();
    let command = |verb: &str| format!("aws kms {verb} --region {region} --key-id {key}");
    let fix = match state.as_str() {
        "PendingDeletion" | "PendingReplicaDeletion" => {
            format!("{}, then {}", command("cancel-key-deletion"), command("enable-key"))
        }
        _ => command("enable-key"),
    };
    check("kms", Verdict::Failed, format!("{key} can't be used: its state is {state}")).fix(fix)
}

/// Keys of objects, one of each prefix.
pub(super) fn encryption(access: &Access, keys: &[Result<Option<String>, FetchError>]) -> Check {
    let configured = access.kms_key_arn.as_deref();
    let found = || keys.iter().filter_map(|key| key.as_ref().ok());
    if let Some(other) = found().flatten().find(|key| Some(key.as_str()) != configured) {
        let message = match configured {
            Some(_) => format!("objects are encrypted by {other}, which is not the source's key"),
            None => format!("objects are encrypted by {other}, and the source names no key"),
        };
        return check("encryption", Verdict::Warning, message).fix(format!(
            "set kms_key_arn = {other:?}, and deploy `{}` again",
            command("source template iam", &access.source, "")
        ));
    }
    match (keys.iter().find_map(|key| key.as_ref().err()), configured, found().flatten().next()) {
        (Some(error), ..) => check("encryption", Verdict::Unknown, error.to_string()),
        _ if keys.is_empty() => check("encryption", Verdict::Unknown, "there is no object to look at"),
        (None, Some(_), None) => {
            check("encryption", Verdict::Healthy, "objects need no key of yours, though the source names one")
        }
        (None, Some(_), Some(_)) => check("encryption", Verdict::Healthy, "objects are encrypted by the source's key"),
        (None, None, _) => check("encryption", Verdict::Healthy, "objects need no key of yours"),
    }
}

pub(super) fn list(listings: &Listings) -> Check {
    let mut empty = Vec::new();
    for (prefix, listing) in listings {
        match listing {
            Err(error) => {
                return check("list", Verdict::Failed, format!("prefix {prefix:?}: {error}"))
                    .fix("allow s3:ListBucket on the bucket to the role, and look for a Deny in the bucket's policy");
            }
            Ok(page) if page.objects.is_empty() => empty.push(format!("{prefix:?}")),
            Ok(_) => {}
        }
    }
    match empty.is_empty() {
        true => check("list", Verdict::Healthy, "every prefix has objects"),
        false => check("list", Verdict::Healthy, format!("no object yet below {}", empty.join(", "))),
    }
}

pub(super) fn read(told: &[ObjectTold]) -> Check {
    let stopped = |object: &ObjectTold, verdict: Verdict, stop: &Halt| {
        check("read", verdict, format!("{}: {}: {}", object.address, stop.at, stop.why))
            .fix(format!("margay explain '{}'", object.address))
    };
    let stops = told.iter().filter_map(|object| Some((object, object.stop.as_ref()?)));
    let (harmless, bad): (Vec<_>, Vec<_>) =
        stops.partition(|(_, stop)| matches!(stop.at, "archive" | "rules" | "ledger"));
    if let Some((object, stop)) = bad.first() {
        return stopped(object, Verdict::Failed, stop);
    }
    if let Some((object, stop)) = harmless.first() {
        return stopped(object, Verdict::Warning, stop);
    }
    let Some(object) = told.first() else { return check("read", Verdict::Unknown, "there is no object to read") };
    let log_types =
        told.iter().filter_map(|object| object.read.as_ref()).flat_map(|read| read.events_by_log_type.keys());
    let mut log_types: Vec<&str> = log_types.map(String::as_str).collect();
    log_types.sort_unstable();
    log_types.dedup();
    check("read", Verdict::Healthy, format!("{} gives events of {}", object.address, log_types.join(", ")))
}

pub(super) fn notification(scope: &Scope, announced: &Result<Vec<Announcement>, FetchError>) -> Check {
    let source = &scope.access.source;
    let announced = match announced {
        Ok(announced) => announced,
        Err(FetchError::Forbidden(_, text)) => {
            return check("notification", Verdict::Unknown, text.as_str())
                .fix("allow s3:GetBucketNotification to the role; only this step needs it");
        }
        Err(error) => return check("notification", Verdict::Unknown, error.to_string()),
    };
    let uncovered: Vec<String> = scope
        .prefixes
        .iter()
        .filter(|prefix| !announced.iter().any(|entry| entry.covers(prefix)))
        .map(|prefix| format!("{prefix:?}"))
        .collect();
    if !uncovered.is_empty() {
        let message = format!("nobody is told of new objects below {} in {}", uncovered.join(", "), scope.bucket);
        return check("notification", Verdict::Failed, message).fix(format!(
            "add to the bucket's notifications what `{}` prints",
            command("source template bucket", source, " --format json")
        ));
    }
    match announced.iter().find(|entry| !entry.all_ways) {
        Some(_) => check("notification", Verdict::Warning, "only some ways of creating objects are announced")
            .fix("notify of s3:ObjectCreated:*"),
        None => check("notification", Verdict::Healthy, "new objects below every prefix are announced"),
    }
}

/// From the announcement to the queue, as far as it can be seen from the daemon's side.
pub(super) fn topic(
    scope: &Scope,
    announced: &[Announcement],
    queue: Option<&QueueFacts>,
    sources: &SourceTable,
) -> Option<Check> {
    let of_prefixes = |entry: &&Announcement| scope.prefixes.iter().any(|prefix| entry.covers(prefix));
    let target = &announced.iter().find(of_prefixes)?.target;
    Some(match target {
        Target::Topic(arn) => match TopicArn::parse(arn) {
            Some(topic) if !sources.knows_account(topic.account()) => {
                let message = format!("{topic} is of account {}, which no source names", topic.account());
                check("topic", Verdict::Failed, format!("{message}; margay does not confirm its subscription"))
                    .fix("set account_id of the source")
            }
            Some(topic) => {
                let message = format!("{topic} is told; who subscribes it is seen in its account only");
                let ask =
                    format!("aws sns list-subscriptions-by-topic --region {} --topic-arn {topic}", topic.region());
                check("topic", Verdict::Unknown, message).fix(ask)
            }
            None => check("topic", Verdict::Failed, format!("{arn} is told, which is not the ARN of a topic"))
                .fix("notify a topic"),
        },
        Target::Queue(arn) if queue.is_some_and(|queue| queue.arn == *arn) => {
            check("topic", Verdict::Healthy, "the bucket notifies margay's queue directly")
        }
        Target::Queue(arn) => {
            check("topic", Verdict::Failed, format!("the bucket notifies {arn}, which is not margay's queue"))
                .fix("notify a topic, and subscribe both queues to it")
        }
        Target::Function(arn) => check("topic", Verdict::Failed, format!("the bucket notifies the function {arn}"))
            .fix("notify a topic, and subscribe margay's queue to it"),
        Target::EventBridge => {
            check("topic", Verdict::Unknown, "the bucket notifies EventBridge; its rules are seen in its account only")
                .fix("aws events list-rules")
        }
    })
}

pub(super) fn queue(scope: &Scope, announced: &[Announcement], facts: Result<QueueFacts, QueueError>) -> Check {
    let source = &scope.access.source;
    let facts = match facts {
        Ok(facts) => facts,
        Err(error) => return check("queue", Verdict::Failed, error.to_string()),
    };
    let topics = announced.iter().filter_map(|entry| match &entry.target {
        Target::Topic(arn) => TopicArn::parse(arn),
        _ => None,
    });
    for topic in topics {
        let start = topic.as_str().rsplit_once(':').map_or("", |(start, _)| start);
        match queue_policy::lets_send(facts.policy.as_deref(), topic.account(), &format!("{start}:")) {
            Answer::Yes => {}
            Answer::No => {
                let message =
                    format!("the policy of {} does not let topics of account {} send", facts.arn, topic.account());
                return check("queue", Verdict::Failed, message)
                    .fix(format!("deploy `{}` again", command("source template queue", source, "")));
            }
            Answer::Perhaps => {
                let message = format!("the policy of {} has conditions that are not understood here", facts.arn);
                return check("queue", Verdict::Unknown, message).fix("see whether they let the topic send");
            }
        }
    }
    if facts.has_dead_letters {
        return check("queue", Verdict::Healthy, format!("{} can be asked, and may be sent to", facts.arn));
    }
    check(
        "queue",
        Verdict::Warning,
        format!("{} has no dead-letter queue; what nobody takes comes for 14 days", facts.arn),
    )
    .fix(format!("compare it with `{}`", command("source template queue", source, "")))
}

pub(super) fn no_state() -> Check {
    check("flow", Verdict::Unknown, "no daemon has run with this configuration yet")
}

pub(super) fn flow(source: &str, came: &Came, kept: &[(ObjectState, usize, String)]) -> Check {
    if let Some((_, _, reason)) = kept.first() {
        let counts: Vec<String> = kept.iter().map(|(kind, count, _)| format!("{count} {}", kind.as_str())).collect();
        return check(
            "flow",
            Verdict::Warning,
            format!("objects were kept aside: {}; the first: {reason}", counts.join(", ")),
        )
        .fix(format!("margay quarantine list --kind object; then {}", command("replay", source, " --help")));
    }
    let Came { last: Some(last), silence, now } = *came else {
        return check("flow", Verdict::Unknown, "no event has come from it yet; no object of it was kept aside")
            .fix("put an object below one of its prefixes; `margay explain s3://BUCKET/KEY` tells what becomes of it");
    };
    let told = format!("the last event came at {}", rfc3339(last));
    if silence.is_some_and(|silence| now - last > silence) {
        return check("flow", Verdict::Warning, format!("{told}, longer ago than silent_after_minutes"))
            .fix(format!("{}: is there anything that was not announced?", command("audit", source, " --since 2d")));
    }
    check("flow", Verdict::Healthy, format!("{told}; no object of it was kept aside"))
}
