//! The forms of AWS names: account, bucket, region, role, key. Pure.
//!
//! Source: Amazon S3 user guide, "General purpose bucket naming rules"; IAM user guide, "IAM and STS quotas"; AWS KMS
//! developer guide, "Key identifiers".

use std::net::Ipv4Addr;

pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_region(text: &str) -> bool {
    text.contains('-') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The partition in which a region lies.
pub(super) fn partition(region: &str) -> &'static str {
    const OTHERS: [(&str, &str); 6] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
    ];
    OTHERS.iter().find(|(start, _)| region.starts_with(start)).map_or("aws", |(_, partition)| partition)
}

/// The name of a source: it labels events and is written in tables, logs and metrics.
pub(super) fn is_source_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .:_-".contains(c);
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !text.ends_with(' ')
        && text.chars().all(allowed)
}

/// What a bucket of S3 can be called. A directory that plays the bucket is bound by none of it.
pub(super) fn is_s3_bucket(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (3..=63).contains(&text.len())
        && text.chars().all(allowed)
        && !text.contains("..")
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && text.parse::<Ipv4Addr>().is_err()
}

/// The name of the bucket in what was written instead: a URL of it, or its ARN.
pub(super) fn bucket_in(text: &str) -> Option<&str> {
    let arn = || text.split_once(":s3:::").filter(|(start, _)| start.starts_with("arn:")).map(|(_, rest)| rest);
    let rest = text.strip_prefix("s3://").or_else(arn)?;
    let name = rest.split('/').next().unwrap_or_default();
    is_s3_bucket(name).then_some(name)
}

pub(super) fn is_access_point(text: &str) -> bool {
    text.starts_with("arn:") && text.contains(":accesspoint/")
}

pub(super) fn is_role_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)
}

pub(super) fn is_role_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(is_role_name_char)
}

/// Partition and account of `arn:<partition>:iam::<account>:role/<path and name>`.
pub(super) fn role(text: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts[..] else { return None };
    let name = resource.strip_prefix("role/")?;
    let fits = partition.starts_with("aws")
        && is_account(account)
        && !name.is_empty()
        && !name.ends_with('/')
        && name.chars().all(|c| is_role_name_char(c) || c == '/');
    fits.then_some((partition, account))
}

/// Somebody whom a role can trust: a user, a role, or a session of one.
pub(super) fn is_principal(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service @ ("iam" | "sts"), "", account, resource] = parts[..] else { return false };
    let kinds: &[&str] = if service == "iam" { &["user/", "role/"] } else { &["assumed-role/"] };
    let name = kinds.iter().find_map(|kind| resource.strip_prefix(kind)).unwrap_or_default();
    let fits = |name: &str| !name.is_empty() && name.chars().all(|c| is_role_name_char(c) || c == '/');
    partition.starts_with("aws") && is_account(account) && fits(name)
}

/// `arn:<partition>:kms:<region>:<account>:key/<id>`
pub(super) fn is_key(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "kms", region, account, resource] = parts[..] else { return false };
    let id = resource.strip_prefix("key/").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    partition.starts_with("aws")
        && is_region(region)
        && is_account(account)
        && !id.is_empty()
        && id.chars().all(allowed)
}

/// `http://host…` or `https://host…` without a path or anything else behind it.
pub(super) fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    host.is_some_and(|host| {
        !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text that fits and each that does not.
    fn check(fits: impl Fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(fits(text), "{text:?} fits");
        }
        for text in bad {
            assert!(!fits(text), "{text:?} does not fit");
        }
    }

    #[test]
    fn forms() {
        check(
            is_principal,
            &[
                "arn:aws:iam::012345678901:user/ana",
                "arn:aws:iam::012345678901:role/a/b",
                "arn:aws:sts::012345678901:assumed-role/Admin/ana@example.com",
            ],
            &["ana", "arn:aws:iam::012345678901:root", "arn:aws:iam::1:user/ana", "arn:aws:iam::012345678901:user/"],
        );
        check(is_account, &["012345678901"], &["12345678901", "0123456789012", "01234567890a", ""]);
        check(
            is_s3_bucket,
            &["logs", "a.b-1"],
            &["ab", "Logs", "a..b", "-ab", "ab-", "10.0.0.1", "a_b", &"a".repeat(64)],
        );
        check(is_source_name, &["Prod trail: a.b_c-1", "7"], &["", " a", "a ", "-a", "é", &"a".repeat(65)]);
        check(is_role_name, &["Reader+=,.@_-1"], &["", "a/b", "a:b", &"a".repeat(65)]);
        check(
            is_key,
            &["arn:aws:kms:eu-west-1:111122223333:key/1a-2b", "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1a"],
            &[
                "arn:aws:kms:eu-west-1:111122223333:alias/logs",
                "1a-2b",
                "arn:aws:kms::111122223333:key/1",
                "arn:aws:s3:::b",
            ],
        );
        check(
            is_endpoint,
            &["http://localhost:9000", "https://minio.example/", "http://[::1]:9000"],
            &["minio.example", "ftp://a", "https://", "https://a/b", "https://a b", "https://u:p@a", "https://a?b"],
        );
    }

    #[test]
    fn the_bucket_is_found_in_what_was_written_instead() {
        for text in ["s3://logs/trail/", "s3://logs", "arn:aws:s3:::logs", "arn:aws-cn:s3:::logs/trail/*"] {
            assert_eq!(bucket_in(text), Some("logs"), "{text}");
        }
        for text in ["logs", "s3://", "arn:aws:s3:eu-west-1:111122223333:accesspoint/a", "logs/trail"] {
            assert_eq!(bucket_in(text), None, "{text}");
        }
    }
}
