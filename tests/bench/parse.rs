//! `cargo bench --bench parse`: how fast records become typed events, on one core, with the fastest JSON parser beside it:
//! what it takes to only parse the same bytes. Each number is the best of several runs, because machines are noisy.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use margay::logtype::{Classified, Classifier, Context, Registry, Schema};
use margay::model::{ObjectId, Record};
use time::macros::datetime;

const RECORDS: usize = 4000;
const RUNS: usize = 20;

fn main() -> std::io::Result<()> {
    let registry = Registry::built_in();
    let built_in = |name: &str| registry.get(name).expect("it is built in").clone();
    let flow = |parser: &str| schema(&format!("version: 0\nparser: {parser}\nfields:\n{FLOW_FIELDS}"));
    let names = FLOW_NAMES.split(' ').collect::<Vec<_>>();
    let placeholders =
        |write: &dyn Fn(&str) -> String| names.iter().map(|name| write(name)).collect::<Vec<_>>().join(" ");
    let fastmatch = format!("{{fastmatch: {{match: ['{}']}}}}", placeholders(&|name| format!("%{{{name}}}")));
    let regex = format!("{{regex: {{match: ['^{}$']}}}}", placeholders(&|name| format!("(?P<{name}>[^ ]+)")));
    let csv = format!("{{csv: {{delimiter: ' ', columns: [{}]}}}}", names.join(", "));

    let mut out = std::io::stdout().lock();
    let trail: Vec<String> = (0..RECORDS).map(trail).collect();
    let baseline = rate(&trail, || trail.iter().for_each(|record| drop(black_box(parsed(record)))));
    writeln!(out, "{:<28}{:>8.0} MB/s", "CloudTrail, only parsed", baseline)?;
    let ours = events(built_in("AWS.CloudTrail"), &trail);
    writeln!(out, "{:<28}{ours:>8.0} MB/s, {:.2} of that", "CloudTrail", ours / baseline)?;
    let flows: Vec<String> = (0..RECORDS).map(flow_line).collect();
    let with_header: Vec<String> = std::iter::once(FLOW_HEADER.to_owned()).chain(flows.iter().cloned()).collect();
    let alb: Vec<String> = (0..RECORDS).map(alb).collect();
    for (name, schema, records) in [
        ("VPC flow, native", built_in("AWS.VPCFlow"), &with_header),
        ("VPC flow, fastmatch", flow(&fastmatch), &flows),
        ("VPC flow, csv", flow(&csv), &flows),
        ("VPC flow, regex", flow(&regex), &flows),
        ("ALB, native", built_in("AWS.ALB"), &alb),
        ("ALB, fastmatch", schema(ALB_FASTMATCH), &alb),
    ] {
        writeln!(out, "{name:<28}{:>8.0} MB/s", events(schema, records))?;
    }
    Ok(())
}

fn schema(yaml: &str) -> Arc<Schema> {
    let schema = Schema::from_yaml(yaml, "bench", Some("Custom.Bench"));
    Arc::new(schema.unwrap_or_else(|errors| panic!("{}", errors[0])))
}

fn parsed(record: &str) -> sonic_rs::Value {
    sonic_rs::from_str(record).expect("it is JSON")
}

/// From bytes to events with all their standard fields.
fn events(schema: Arc<Schema>, texts: &[String]) -> f64 {
    let record = |(ordinal, text): (usize, &String)| Record {
        ordinal: ordinal as u64,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        origin: None,
    };
    let records: Vec<Record> = texts.iter().enumerate().map(record).collect();
    let context = Context {
        object: ObjectId([7; 16]),
        address: Some("bucket/key".into()),
        source: "bench".into(),
        parse_time: datetime!(2026-02-01 0:00 UTC),
        keep_unknown: true,
        guard_event_time: true,
    };
    rate(texts, || {
        let mut classifier = Classifier::with_schemas(vec![schema.clone()], context.clone());
        for record in &records {
            if let Classified::Rejected(reject) = black_box(classifier.classify(record)) {
                panic!("{}", reject.reason);
            }
        }
    })
}

/// Megabytes of the texts in a second.
fn rate(texts: &[String], work: impl Fn()) -> f64 {
    let bytes: usize = texts.iter().map(String::len).sum();
    let seconds = (0..RUNS).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    bytes as f64 / 1e6 / seconds.fold(f64::MAX, f64::min)
}

fn trail(n: usize) -> String {
    let user = format!("user-{}", n % 97);
    let (source, name) = [("ec2", "DescribeInstances"), ("s3", "GetObject"), ("iam", "ListRoles")][n % 3];
    let identity = format!(
        r#"{{"type":"AssumedRole","principalId":"AROAEXAMPLEID{n:06}:{user}","arn":"arn:aws:sts::111122223333:assumed-role/Engineer/{user}","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE{n:08}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROAEXAMPLEISSUER","arn":"arn:aws:iam::111122223333:role/Engineer","accountId":"111122223333","userName":"Engineer"}},"attributes":{{"creationDate":"2026-01-15T08:00:00Z","mfaAuthenticated":"true"}}}}}}"#
    );
    let parameters = format!(
        r#"{{"bucketName":"acme-data-{}","key":"reports/2026/01/15/part-{n:08}.parquet","Host":"acme-data.s3.us-east-1.amazonaws.com","filterSet":{{"items":[{{"name":"instance-state-name","valueSet":{{"items":[{{"value":"running"}}]}}}},{{"name":"vpc-id","valueSet":{{"items":[{{"value":"vpc-0a1b2c3d"}}]}}}}]}}}}"#,
        n % 31
    );
    format!(
        r#"{{"eventVersion":"1.08","userIdentity":{identity},"eventTime":"2026-01-15T{:02}:{:02}:{:02}Z","eventSource":"{source}.amazonaws.com","eventName":"{name}","awsRegion":"us-east-1","sourceIPAddress":"198.51.100.{}","userAgent":"aws-cli/2.15.0 Python/3.11.6 Linux/5.10 exe/x86_64.amzn.2 prompt/off command/x.y","requestParameters":{parameters},"responseElements":null,"requestID":"{:032x}","eventID":"{n:08x}-0000-4000-8000-{n:012x}","readOnly":true,"resources":[{{"accountId":"111122223333","type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::acme-data"}}],"eventType":"AwsApiCall","managementEvent":false,"recipientAccountId":"111122223333","eventCategory":"Data","tlsDetails":{{"tlsVersion":"TLSv1.2","cipherSuite":"ECDHE-RSA-AES128-GCM-SHA256"}}}}"#,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 254 + 1,
        n as u128 * 0x9e37_79b9_7f4a_7c15,
    )
}

const FLOW_HEADER: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
const FLOW_NAMES: &str = "version account eni src dst srcport dstport protocol packets bytes start end action status";
const FLOW_FIELDS: &str = "
- {name: version, type: int}
- {name: account, type: string, indicators: [aws_account_id]}
- {name: eni, type: string}
- {name: src, type: string, indicators: [ip]}
- {name: dst, type: string, indicators: [ip]}
- {name: srcport, type: int}
- {name: dstport, type: int}
- {name: protocol, type: int}
- {name: packets, type: bigint}
- {name: bytes, type: bigint}
- {name: start, type: timestamp, timeFormat: unix, isEventTime: true}
- {name: end, type: timestamp, timeFormat: unix}
- {name: action, type: string}
- {name: status, type: string}
";

fn flow_line(n: usize) -> String {
    let (start, end) = (1_768_467_600 + n, 1_768_467_660 + n);
    format!(
        "2 123456789010 eni-1235b8ca123456789 172.31.{}.{} 172.31.16.21 {} 22 6 20 {} {start} {end} ACCEPT OK",
        n % 200,
        n % 254 + 1,
        20000 + n % 40000,
        4249 + n
    )
}

const ALB_FASTMATCH: &str = r#"
version: 0
parser:
  fastmatch:
    match: ['%{type} %{timestamp} %{elb} %{client} %{target} %{rp} %{tp} %{sp} %{status} %{tstatus} %{received} %{sent} "%{request}" "%{agent}" %{cipher} %{protocol} %{arn} "%{trace}" "%{domain}" "%{cert}" %{priority} %{created} "%{actions}" %{}']
    emptyValues: ['-']
fields:
- {name: type, type: string}
- {name: timestamp, type: timestamp, timeFormat: rfc3339, isEventTime: true}
- {name: elb, type: string}
- {name: client, type: string, indicators: [net_addr]}
- {name: target, type: string, indicators: [net_addr]}
- {name: rp, type: float}
- {name: tp, type: float}
- {name: sp, type: float}
- {name: status, type: int}
- {name: tstatus, type: int}
- {name: received, type: bigint}
- {name: sent, type: bigint}
- {name: request, type: string}
- {name: agent, type: string}
- {name: cipher, type: string}
- {name: protocol, type: string}
- {name: arn, type: string, indicators: [aws_arn]}
- {name: trace, type: string, indicators: [trace_id]}
- {name: domain, type: string, indicators: [domain]}
- {name: cert, type: string, indicators: [aws_arn]}
- {name: priority, type: int}
- {name: created, type: timestamp, timeFormat: rfc3339}
- {name: actions, type: string}
"#;

fn alb(n: usize) -> String {
    format!(
        r#"https 2026-01-15T{:02}:{:02}:{:02}.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.{}:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 {} 57 "GET https://www.example.com:443/path/{n}?q=1 HTTP/1.1" "curl/7.46.0" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 "Root=1-58337281-1d84f3d73c47ec4e58577259" "www.example.com" "arn:aws:acm:us-east-2:123456789012:certificate/12345678-1234-1234-1234-123456789012" 1 2026-01-15T22:22:48.364000Z "authenticate,forward" "-" "-" "10.0.0.1:80" "200" "-" "-""#,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n % 254 + 1,
        n % 5000
    )
}
