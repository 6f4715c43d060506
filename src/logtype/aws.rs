//! What AWS names look like, and the walk that finds them in AWS JSON that has no schema of its own.

use super::indicator::{Indicators, Kind};
use crate::model::Value;

/// The six parts of an ARN: `arn:partition:service:region:account:resource`.
fn parts(text: &str) -> Option<[&str; 6]> {
    let mut parts = text.splitn(6, ':');
    let parts = [(); 6].map(|()| parts.next());
    match parts {
        [Some("arn"), Some(partition), Some(service), Some(region), Some(account), Some(resource)] => {
            Some(["arn", partition, service, region, account, resource])
        }
        _ => None,
    }
}

pub(super) fn arn_only(text: &str, found: &mut Indicators) {
    if parts(text).is_some() {
        found.add(Kind::AwsArn, text);
    }
}

/// An ARN and what it names: account, instance, and the e-mail address that is the session of an assumed role.
pub(super) fn arn(text: &str, found: &mut Indicators) {
    let Some([_, _, service, _, account, resource]) = parts(text) else { return };
    found.add(Kind::AwsArn, text);
    account_id(account, found);
    if let Some(instance) = resource.strip_prefix("instance/") {
        instance_id(instance, found);
    }
    // Assumed roles are a thing of STS; the same resource under another service is no session.
    if let ("sts", Some(role)) = (service, resource.strip_prefix("assumed-role/"))
        && let Some((_, session)) = role.rsplit_once('/')
        && session.contains('@')
    {
        found.add(Kind::Email, session);
    }
}

pub(super) fn account_id(text: &str, found: &mut Indicators) {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        found.add(Kind::AwsAccountId, text);
    }
}

pub(super) fn instance_id(text: &str, found: &mut Indicators) {
    if text.starts_with("i-") {
        found.add(Kind::AwsInstanceId, text);
    }
}

/// Walks a value that stands under `key`.
pub(super) fn walk(key: &str, value: &Value, found: &mut Indicators) {
    match value {
        Value::Str(text) => by_key(key, text, found),
        Value::List(items) => items.iter().for_each(|item| walk(key, item, found)),
        Value::Map(map) => {
            let text = |key| map.get(key).and_then(Value::as_str);
            if let ("tags", Some(name), Some(value)) = (key, text("key"), text("value")) {
                found.add(Kind::AwsTag, format!("{name}:{value}"));
                return;
            }
            map.iter().for_each(|(key, value)| walk(key, value, found));
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::UInt(_) | Value::Float(_) => {}
    }
}

fn by_key(key: &str, text: &str, found: &mut Indicators) {
    let text = if key == "tags" { text } else { text.trim() };
    if text.is_empty() {
        return;
    }
    match key {
        "arn" | "ARN" | "aws:SourceArn" => arn(text, found),
        "instanceId" | "instance-id" => instance_id(text, found),
        "accountId" | "account" => account_id(text, found),
        "tags" => found.add(Kind::AwsTag, text),
        "ipv6Addresses" | "publicIp" | "privateIpAddress" | "ipAddressV4" => found.ip(text),
        "publicDnsName" | "privateDnsName" | "domain" => found.host(text),
        _ if key.ends_with("InstanceId") => instance_id(text, found),
        _ if key.ends_with("AccountId") => account_id(text, found),
        _ => arn(text, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_gives_what_it_names() {
        let mut found = Indicators::default();
        for text in [
            "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc",
            "arn:aws:sts::123456789012:assumed-role/Admin/u@example.com",
            "arn:aws:iam::123456789012:assumed-role/Admin/other@example.com",
            "arn:aws:s3:::bucket",
            "arn:",
            "arnica:a:b:c:d:e",
        ] {
            arn(text, &mut found);
        }
        let found: Vec<String> = found.finish().map(|(_, values)| serde_json::to_string(&values).unwrap()).collect();
        assert_eq!(
            found,
            [
                r#"["u@example.com"]"#,
                r#"["123456789012"]"#,
                r#"["i-0abc"]"#,
                r#"["arn:aws:ec2:us-east-1:123456789012:instance/i-0abc","arn:aws:iam::123456789012:assumed-role/Admin/other@example.com","arn:aws:s3:::bucket","arn:aws:sts::123456789012:assumed-role/Admin/u@example.com"]"#,
            ]
        );
    }

    #[test]
    fn the_walk_goes_by_key() {
        let value: Value = serde_json::from_str(
            r#"{"tags":[{"key":"team","value":"red"},{"other":"arn:aws:s3:::b"}],"items":[{"sourceInstanceId":"i-1"}],
                "recipientAccountId":"123456789012","publicIp":"1.2.3.4","publicDnsName":"h.example","note":"plain","n":7}"#,
        )
        .unwrap();
        let mut found = Indicators::default();
        walk("requestParameters", &value, &mut found);
        let found: Vec<String> = found.finish().map(|(kind, values)| format!("{} {values:?}", kind.field())).collect();
        assert_eq!(found.len(), 6, "{found:?}");
    }
}
