//! Logs about the reading of logs.

use serde_json::json;

use super::*;

/// What S3 logs of a GET, as far as it matters.
fn access(bucket: &str, operation: &str, key: &str) -> String {
    format!(
        "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be {bucket} [01/May/2024:08:00:38 +0000] \
         192.0.2.3 - 3E57427F3EXAMPLE {operation} {key} \"GET /{key} HTTP/1.1\" 200 - 113 113 7 6 \"-\" \"agent\" -\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_gets_the_access_logs_of_its_own_access_logs_is_told() {
    let world = world().await;
    let source = json!({ "name": "logs", "bucket": "b", "prefixes": [
        { "prefix": "access/", "log_types": ["AWS.S3ServerAccess"] },
        { "prefix": "trail/", "log_types": ["AWS.CloudTrail"] },
        { "prefix": "okta/", "log_types": ["Okta.SystemLog"] },
    ] });
    world.pipeline.catalogue.swap(Catalogue {
        sources: SourceTable::new(&[serde_json::from_value(source).unwrap()]).unwrap(),
        log_types: world.pipeline.catalogue.get().log_types.clone(),
    });
    let told = || world.pipeline.telemetry.metrics.feedback_records_total.get(["logs"]);
    let others = [
        access("b", "REST.GET.OBJECT", "okta/a"),
        access("b", "REST.PUT.OBJECT", "access/1"),
        access("other", "REST.GET.OBJECT", "access/1"),
        access("b", "REST.GET.BUCKET", "-"),
    ];
    let quiet = world.announce("access/1", others.concat());
    world.handle(1).await;
    assert_eq!(world.state_of(&quiet).await, Some(ObjectState::Committed));
    assert_eq!(told(), 0);
    let loops = access("b", "REST.GET.OBJECT", "access/1").repeat(3);
    world.announce("access/2", [others.concat(), loops].concat());
    world.handle(1).await;
    assert_eq!(told(), 3);

    let read = json!({ "Records": [{
        "eventVersion": "1.08", "eventID": "1", "eventTime": "2026-01-02T03:04:05Z", "eventType": "AwsApiCall",
        "eventSource": "s3.amazonaws.com", "eventName": "GetObject", "awsRegion": "us-east-1",
        "recipientAccountId": "111122223333", "sourceIPAddress": "192.0.2.3", "userAgent": "margay", "requestID": "1",
        "userIdentity": { "type": "AssumedRole", "accountId": "111122223333" },
        "requestParameters": { "bucketName": "b", "key": "trail/1" },
    }] });
    world.announce("trail/2", read.to_string());
    world.handle(1).await;
    assert_eq!(world.catalog.rows("AWS.CloudTrail").len(), 1);
    assert_eq!(told(), 4);
}
