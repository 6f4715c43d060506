//! Invented CloudTrail objects for measuring. The same number of events always gives the same bytes.

use std::io::Write;
use std::process::ExitCode;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::cli;

const PER_OBJECT: usize = 1000;

pub(super) struct Objects {
    /// Gzipped `{"Records":[…]}` documents.
    pub(super) bodies: Vec<Bytes>,
    pub(super) events: usize,
    pub(super) decoded_bytes: u64,
}

pub(super) fn objects(events: usize) -> Objects {
    let mut decoded_bytes = 0;
    let bodies = (0..events)
        .step_by(PER_OBJECT)
        .map(|first| {
            let records: Vec<_> = (first..events.min(first + PER_OBJECT)).map(event).collect();
            let text = json!({ "Records": records }).to_string();
            decoded_bytes += text.len() as u64;
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes()).expect("a Vec takes all bytes");
            Bytes::from(encoder.finish().expect("a Vec takes all bytes"))
        })
        .collect();
    Objects { bodies, events, decoded_bytes }
}

/// A line each, with the log type that rules wait for.
pub(super) fn print(events: usize) -> anyhow::Result<ExitCode> {
    for first in (0..events).step_by(PER_OBJECT) {
        let lines = (first..events.min(first + PER_OBJECT)).map(|n| {
            let mut event = event(n);
            event["p_log_type"] = "AWS.CloudTrail".into();
            format!("{event}\n")
        });
        cli::print(&lines.collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Mostly reading calls of services and people; about one in five hundred is something that a rule looks for.
fn event(n: usize) -> serde_json::Value {
    const CALLS: [(&str, &str); 8] = [
        ("ec2.amazonaws.com", "DescribeInstances"),
        ("s3.amazonaws.com", "GetObject"),
        ("sts.amazonaws.com", "AssumeRole"),
        ("kms.amazonaws.com", "Decrypt"),
        ("logs.amazonaws.com", "PutLogEvents"),
        ("dynamodb.amazonaws.com", "GetItem"),
        ("iam.amazonaws.com", "ListRoles"),
        ("lambda.amazonaws.com", "Invoke"),
    ];
    let (source, name) = match n % 500 {
        7 => ("cloudtrail.amazonaws.com", "StopLogging"),
        _ => CALLS[n % CALLS.len()],
    };
    let user = format!("user-{}", n % 97);
    json!({
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": format!("AROAEXAMPLEID{:06}:{user}", n % 4001),
            "arn": format!("arn:aws:sts::111122223333:assumed-role/Engineer/{user}"),
            "accountId": "111122223333",
            "accessKeyId": format!("ASIAEXAMPLE{:08}", n % 7919),
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": "AROAEXAMPLEISSUER",
                    "arn": "arn:aws:iam::111122223333:role/Engineer",
                    "accountId": "111122223333",
                    "userName": "Engineer"
                },
                "attributes": { "creationDate": "2026-01-15T08:00:00Z", "mfaAuthenticated": "true" }
            }
        },
        "eventTime": format!("2026-01-15T{:02}:{:02}:{:02}Z", n / 3600 % 24, n / 60 % 60, n % 60),
        "eventSource": source,
        "eventName": name,
        "awsRegion": "us-east-1",
        "sourceIPAddress": format!("198.51.100.{}", n % 254 + 1),
        "userAgent": "aws-cli/2.15.0 Python/3.11.6 Linux/5.10 exe/x86_64.amzn.2 prompt/off command/x.y",
        "requestParameters": {
            "bucketName": format!("acme-data-{}", n % 31),
            "key": format!("reports/2026/01/15/part-{n:08}.parquet"),
            "Host": "acme-data.s3.us-east-1.amazonaws.com"
        },
        "responseElements": null,
        "requestID": format!("{:032x}", n as u128 * 0x9e37_79b9_7f4a_7c15),
        "eventID": format!("{:08x}-0000-4000-8000-{:012x}", n, n),
        "readOnly": true,
        "resources": [{ "accountId": "111122223333", "type": "AWS::S3::Bucket", "ARN": "arn:aws:s3:::acme-data" }],
        "eventType": "AwsApiCall",
        "managementEvent": false,
        "recipientAccountId": "111122223333",
        "sharedEventID": format!("{:08x}-1111-4000-8000-{:012x}", n, n),
        "eventCategory": "Data"
    })
}
