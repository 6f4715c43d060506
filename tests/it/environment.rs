//! The environment variables that every AWS tool reads, read by margay.

use std::process::Command;

use crate::aws::{ACCOUNT, Aws, REGION};

/// Set in the process that the test below starts.
const INSIDE: &str = "MARGAY_TESTS_INSIDE";

/// A process can't change its own environment while it has threads, so this test starts itself once more.
#[tokio::test(flavor = "multi_thread")]
async fn endpoint_region_and_keys_come_from_the_environment() {
    if std::env::var_os(INSIDE).is_some() {
        let sdk = margay::aws::sdk_config().await;
        assert_eq!(sdk.region().map(|region| region.as_ref()), Some(REGION));
        let identity = aws_sdk_sts::Client::new(&sdk).get_caller_identity().send().await.unwrap();
        assert_eq!(identity.account.as_deref(), Some(ACCOUNT));
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "environment::endpoint_region_and_keys_come_from_the_environment"]);
    let output = again.env(INSIDE, "1").envs(Aws::start().await.env()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
