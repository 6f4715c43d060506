//! The two calls of SNS that the tests need, spelled as the plain HTTP that they are; a third SDK client would take
//! longer to compile than all of this harness.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{KEYS, REGION};

/// Creates a topic and returns its ARN.
pub(super) async fn create_topic(endpoint: &str, name: &str) -> String {
    let answer = call(endpoint, &[("Action", "CreateTopic"), ("Name", name)]).await;
    let arn = answer.split("<TopicArn>").nth(1).and_then(|rest| rest.split('<').next());
    arn.unwrap_or_else(|| panic!("no topic was created: {answer}")).to_owned()
}

/// Subscribes a queue to a topic.
pub(super) async fn subscribe(endpoint: &str, topic_arn: &str, queue_arn: &str, raw: bool) {
    let mut parameters =
        vec![("Action", "Subscribe"), ("TopicArn", topic_arn), ("Protocol", "sqs"), ("Endpoint", queue_arn)];
    if raw {
        parameters.push(("Attributes.entry.1.key", "RawMessageDelivery"));
        parameters.push(("Attributes.entry.1.value", "true"));
    }
    let answer = call(endpoint, &parameters).await;
    assert!(answer.contains("<SubscriptionArn>"), "the queue was not subscribed: {answer}");
}

async fn call(endpoint: &str, parameters: &[(&str, &str)]) -> String {
    let mut body = "Version=2010-03-31".to_owned();
    for (name, value) in parameters {
        body.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    }
    let host = endpoint.trim_start_matches("http://");
    // The server reads the service and region from the credential and checks no signature.
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={}/20260101/{REGION}/sns/aws4_request, SignedHeaders=host, \
         Signature=0\r\n\r\n{body}",
        body.len(),
        KEYS.0,
    );
    let mut connection = TcpStream::connect(host).await.expect("connect to the AWS API server");
    connection.write_all(request.as_bytes()).await.expect("send a call of SNS");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("read SNS's answer");
    answer
}
