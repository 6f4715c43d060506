//! Ten thousand small objects and one large one, all at once. A measurement, not part of the usual run:
//!
//! ```text
//! cargo test --release --test it -- --ignored --nocapture load
//! ```
//!
//! It takes minutes, needs the release profile to tell anything, and prints objects and bytes a second, the peak of the
//! daemon's memory and the order of completion. It asserts that each object was asked for once, that the rule matched
//! exactly the events that it should, that small objects were done before the large one though that was announced
//! first, and that the memory stayed within the budget and a constant beside it; never a time.

use std::time::Instant;

use crate::aws::gzip;
use crate::cloud::{BUCKET, Cloud, Content, Op};
use crate::daemon::Setup;
use crate::events::logins_of;

const SMALL: usize = 10_000;

/// Different contents of small objects; each is stored under many keys.
const KINDS: usize = 50;

/// Decompressed bytes of the large object.
const LARGE: u64 = 1 << 30;

/// The daemon's budget for data, in MiB.
const BUDGET_MIB: u64 = 256;

/// What it may hold beside its budget: code, log types, rules, connections, the caches of its state file.
const BESIDE_MIB: u64 = 128;

/// Is asked about every record of the large object and matches none.
const SOME: &str = "def rule(event):\n    return event.deep_get('actor', 'alternateId') == 'counted'\n\
                    def title(event):\n    return 'counted'\n";

fn cloudtrail(events: usize, kind: usize) -> String {
    let records: Vec<_> = (0..events)
        .map(|number| {
            let id = format!("{kind:08x}-{number:04x}-4000-8000-{:012x}", (kind * 7919 + number) * 1_000_003);
            serde_json::json!({
                "eventVersion": "1.08", "eventTime": "2026-01-15T09:15:00Z", "eventSource": "ec2.amazonaws.com",
                "eventName": if number % 100 == 0 { "StopInstances" } else { "DescribeInstances" },
                "awsRegion": "us-east-1", "sourceIPAddress": format!("198.51.{}.{}", kind % 256, number % 256),
                "userAgent": "console.amazonaws.com", "eventID": id, "requestID": id, "eventType": "AwsApiCall",
                "recipientAccountId": "123456789012", "readOnly": true, "managementEvent": true,
                "userIdentity": {
                    "type": "AssumedRole", "principalId": format!("AROA{number}:session"), "accountId": "123456789012",
                    "arn": format!("arn:aws:sts::123456789012:assumed-role/reader/session-{number}"),
                },
                "requestParameters": { "instancesSet": { "items": [{ "instanceId": format!("i-{id}") }] } },
                "responseElements": null,
            })
        })
        .collect();
    serde_json::json!({ "Records": records }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes"]
async fn load_of_many_small_objects_and_a_large_one() {
    let cloud = Cloud::start();
    let rule = "def rule(event):\n    return event.get('eventName') == 'StopInstances'\n\
                def title(event):\n    return 'stopped'\n";
    let setup = Setup::new()
        .rule("Counted", SOME)
        .configured(&format!("[pipeline]\nmemory_budget_mib = {BUDGET_MIB}\n"))
        .reading_cloud(&cloud)
        .configured(&format!(
            "[[sources]]\nname = \"trail\"\nbucket = \"trail\"\nrole_arn = \"{}\"\n\
             prefixes = [{{ log_types = [\"AWS.CloudTrail\"] }}]\n",
            cloud.role_arn()
        ));
    setup.write_rule_over("AWS.CloudTrail", "Stopped", rule);
    cloud.bucket_in("trail", crate::aws::REGION);

    let line = logins_of("uncounted", 2000);
    let large = Content::repeated(gzip(&line), LARGE.div_ceil(line.len() as u64));
    let large_stored = large.len();
    let large_message = cloud.put("large.gz", large);
    let events: Vec<usize> = (0..KINDS).map(|kind| 35 + kind * 3).collect();
    let texts: Vec<String> = events.iter().enumerate().map(|(kind, events)| cloudtrail(*events, kind)).collect();
    let stored: Vec<Vec<u8>> = texts.iter().map(gzip).collect();
    for number in 0..SMALL {
        cloud.put_into("trail", &format!("AWSLogs/{number}.json.gz"), stored[number % KINDS].clone());
    }
    let per_kind = SMALL / KINDS;
    let small_events = events.iter().sum::<usize>() * per_kind;
    let small_bytes = texts.iter().map(|text| text.len() as u64).sum::<u64>() * per_kind as u64;
    let matches = events.iter().map(|events| events.div_ceil(100)).sum::<usize>() * per_kind;
    let sizes: Vec<usize> = stored.iter().map(Vec::len).collect();
    eprintln!("small objects: {SMALL}, {}..{} bytes stored, {small_events} events", sizes[0], sizes[KINDS - 1]);
    eprintln!("large object: {large_stored} bytes stored");

    let started = Instant::now();
    let daemon = setup.start().await;
    let ready = started.elapsed();
    daemon.until_within(std::time::Duration::from_secs(1800), |_| cloud.depth() == (0, 0)).await;
    let took = (started.elapsed() - ready).as_secs_f64();
    let place = cloud.deleted().iter().position(|id| *id == large_message).unwrap();
    let peak = daemon.peak_memory();
    eprintln!("ready after {:.1} s, all done {took:.1} s later", ready.as_secs_f64());
    eprintln!(
        "{:.0} objects/s, {:.1} MB/s decompressed",
        SMALL as f64 / took,
        (small_bytes + LARGE) as f64 / took / 1e6
    );
    eprintln!("the large object was done after {place} of the {SMALL} small ones");
    eprintln!("peak memory {} MiB with a budget of {BUDGET_MIB} MiB", peak >> 20);

    assert_eq!(cloud.calls(Op::GetObject).len(), SMALL + 1, "every object is read once");
    assert_eq!(setup.counts(), [("stopped".to_owned(), matches as u64)].into());
    assert!(place > 0, "the large object, though first, held the small ones back in {BUCKET}");
    assert!(peak <= (BUDGET_MIB + BESIDE_MIB) << 20, "{} MiB", peak >> 20);
}
