//! What AWS names look like, and the walk that finds them in AWS JSON that has no schema of its own.

use super::indicator::{Indicators, Kind};
use crate::model::{Seen, View, Writer};

/// The six parts of an ARN: `arn:partition:service:region:account:resource`.
fn parts(text: &str) -> Option<[&str; 6]> {
    // Most texts are none.
    if !text.starts_with("arn:") {
        return None;
    }
    let mut parts = text.splitn(6, ':');
    let parts = [(); 6].map(|()| parts.next());
    match parts {
        [Some("arn"), Some(partition), Some(service), Some(region), Some(account), Some(resource)] => {
            Some(["arn", partition, service, region, account, resource])
        }
        _ => None,
    }
}

pub(super) fn arn_only(text: &str, found: &mut Indicators, out: &Writer<'_>) {
    if parts(text).is_some() {
        found.add(Kind::AwsArn, text, out);
    }
}

/// An ARN and what it names: account, instance, and the e-mail address that is the session of an assumed role.
pub(super) fn arn(text: &str, found: &mut Indicators, out: &Writer<'_>) {
    let Some([_, _, service, _, account, resource]) = parts(text) else { return };
    found.add(Kind::AwsArn, text, out);
    account_id(account, found, out);
    if let Some(instance) = resource.strip_prefix("instance/") {
        instance_id(instance, found, out);
    }
    // Assumed roles are a thing of STS; the same resource under another service is no session.
    if let ("sts", Some(role)) = (service, resource.strip_prefix("assumed-role/"))
        && let Some((_, session)) = role.rsplit_once('/')
        && session.contains('@')
    {
        found.add(Kind::Email, session, out);
    }
}

pub(super) fn account_id(text: &str, found: &mut Indicators, out: &Writer<'_>) {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        found.add(Kind::AwsAccountId, text, out);
    }
}

pub(super) fn instance_id(text: &str, found: &mut Indicators, out: &Writer<'_>) {
    if text.starts_with("i-") {
        found.add(Kind::AwsInstanceId, text, out);
    }
}

/// What stands under this key is tags.
pub(super) const TAGS: &str = "tags";

/// Walks a value that stands under `key`.
pub(super) fn walk(key: &str, value: Seen<'_>, found: &mut Indicators, out: &Writer<'_>) {
    match value.view() {
        View::Str(text) => by_key(key, text, found, out),
        View::List(items) => items.for_each(|item| walk(key, item, found, out)),
        View::Map(members) => {
            let text = |key| match members.get(key) {
                Some(View::Str(text)) => Some(text),
                _ => None,
            };
            if key == TAGS
                && let (Some(name), Some(value)) = (text("key"), text("value"))
            {
                found.add(Kind::AwsTag, &format!("{name}:{value}"), out);
                return;
            }
            members.for_each(|member| walk(member.key(), member, found, out));
        }
        View::Null | View::Bool(_) | View::Int(_) | View::UInt(_) | View::Float(_) => {}
    }
}

/// Takes what a text says that stands under a key. Most keys say nothing, and their last letter tells.
pub(super) fn by_key(key: &str, text: &str, found: &mut Indicators, out: &Writer<'_>) {
    let trimmed = text.trim();
    match key.as_bytes().last() {
        Some(b'd') if key == "instanceId" || key == "instance-id" || key.ends_with("InstanceId") => {
            instance_id(trimmed, found, out);
        }
        Some(b'd') if key == "accountId" || key.ends_with("AccountId") => account_id(trimmed, found, out),
        Some(b't') if key == "account" => account_id(trimmed, found, out),
        Some(b's') if key == TAGS && !text.is_empty() => found.add(Kind::AwsTag, text, out),
        Some(b's' | b'p' | b'4')
            if matches!(key, "ipv6Addresses" | "publicIp" | "privateIpAddress" | "ipAddressV4") =>
        {
            found.ip(trimmed, out);
        }
        Some(b'e' | b'n') if matches!(key, "publicDnsName" | "privateDnsName" | "domain") => found.host(trimmed, out),
        _ => arn(trimmed, found, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logtype::json;
    use crate::logtype::put::put_raw;
    use crate::logtype::standard::NameTable;
    use crate::model::{Key, TapeRoom};

    /// The indicators that are found, as JSON by kind.
    fn found(find: impl Fn(&mut Indicators, &mut Writer<'_>)) -> Vec<String> {
        let (names, mut room) = (NameTable::new().finish(), TapeRoom::default());
        let mut out = Writer::new(&names, "", &mut room);
        let mut found = Indicators::default();
        find(&mut found, &mut out);
        out.undo(0);
        out.begin(Key::NONE);
        let kinds = found.put(&mut out);
        out.end_map(0, kinds);
        out.finish().iter().map(|(_, values)| serde_json::to_string(values).unwrap()).collect()
    }

    #[test]
    fn an_arn_gives_what_it_names() {
        let texts = [
            "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc",
            "arn:aws:sts::123456789012:assumed-role/Admin/u@example.com",
            "arn:aws:iam::123456789012:assumed-role/Admin/other@example.com",
            "arn:aws:s3:::bucket",
            "arn:",
            "arnica:a:b:c:d:e",
        ];
        assert_eq!(
            found(|found, out| texts.iter().for_each(|text| arn(text, found, out))),
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
        let record = r#"{"tags":[{"key":"team","value":"red"},{"other":"arn:aws:s3:::b"}],"items":[{"sourceInstanceId":"i-1"}],
            "recipientAccountId":"123456789012","publicIp":"1.2.3.4","publicDnsName":"h.example","note":"plain","n":7}"#;
        let found = found(|found, out| {
            put_raw(Key::NONE, json::parse(record).unwrap().0.root(), out);
            walk("requestParameters", out.seen(0), found, out);
        });
        assert_eq!(
            found,
            [
                r#"["1.2.3.4"]"#,
                r#"["h.example"]"#,
                r#"["123456789012"]"#,
                r#"["i-1"]"#,
                r#"["arn:aws:s3:::b"]"#,
                r#"["team:red"]"#
            ]
        );
    }
}
