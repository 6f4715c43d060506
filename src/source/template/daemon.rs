//! The daemon as the accounts of its sources see it: its account, its queue, its role.

use super::super::name;

/// The name of the daemon's role where none is given; the template of the queue makes it.
const ROLE: &str = "margay-daemon";

#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    pub partition: &'static str,
    pub region: String,
    pub account: String,
    /// Name of the queue.
    pub queue: String,
    pub role_arn: String,
}

/// Where the daemon runs, and so who may give it its role.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Host {
    Ecs,
    /// EKS Pod Identity.
    Eks,
    Ec2,
}

impl Host {
    pub(super) fn service(self) -> &'static str {
        match self {
            Host::Ecs => "ecs-tasks.amazonaws.com",
            Host::Eks => "pods.eks.amazonaws.com",
            Host::Ec2 => "ec2.amazonaws.com",
        }
    }
}

impl Daemon {
    /// What the URL of the queue tells. `region` counts only where the URL has none.
    pub fn new(queue_url: &str, region: Option<&str>, role_arn: Option<&str>) -> Result<Daemon, String> {
        let address = queue_url.split_once("://").map_or(queue_url, |(_, rest)| rest);
        let mut parts = address.trim_end_matches('/').split('/');
        let (host, rest): (&str, Vec<&str>) = (parts.next().unwrap_or_default(), parts.collect());
        let [account, queue] = rest[..] else {
            return Err(format!("queue.sqs.url {queue_url:?} does not end with /<account>/<name of the queue>"));
        };
        if !name::is_account(account) {
            return Err(format!("queue.sqs.url {queue_url:?} names {account:?} as account, which is not 12 digits"));
        }
        let Some(region) = region_in(host).or(region) else {
            return Err(format!("queue.sqs.url {queue_url:?} does not say its region; give --region"));
        };
        let partition = name::partition(region);
        if let Some(role) = role_arn.filter(|role| name::role(role).is_none()) {
            return Err(format!(
                "--daemon-role {role:?} is not the ARN of a role, such as arn:{partition}:iam::{account}:role/{ROLE}"
            ));
        }
        let role_arn = role_arn.map_or_else(|| format!("arn:{partition}:iam::{account}:role/{ROLE}"), str::to_owned);
        Ok(Daemon {
            partition,
            region: region.to_owned(),
            account: account.to_owned(),
            queue: queue.to_owned(),
            role_arn,
        })
    }

    pub(super) fn queue_arn(&self) -> String {
        format!("arn:{}:sqs:{}:{}:{}", self.partition, self.region, self.account, self.queue)
    }
}

/// `sqs.<region>.amazonaws.com`, or the older `<region>.queue.amazonaws.com`.
fn region_in(host: &str) -> Option<&str> {
    let labels: Vec<&str> = host.split('.').collect();
    match labels[..] {
        ["sqs", region, "amazonaws", "com", ..] | [region, "queue", "amazonaws", "com", ..] => Some(region),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_the_queue_tells_region_account_and_name() {
        for (url, partition, region) in [
            ("https://sqs.eu-central-1.amazonaws.com/012345678901/logs", "aws", "eu-central-1"),
            ("https://sqs.cn-north-1.amazonaws.com.cn/012345678901/logs", "aws-cn", "cn-north-1"),
            ("https://eu-west-1.queue.amazonaws.com/012345678901/logs", "aws", "eu-west-1"),
            ("http://127.0.0.1:5000/012345678901/logs/", "aws", "us-east-1"),
        ] {
            let daemon = Daemon::new(url, Some("us-east-1"), None).unwrap();
            assert_eq!((daemon.partition, daemon.region.as_str(), daemon.queue.as_str()), (partition, region, "logs"));
            assert_eq!(daemon.queue_arn(), format!("arn:{partition}:sqs:{region}:012345678901:logs"));
            assert_eq!(daemon.role_arn, format!("arn:{partition}:iam::012345678901:role/margay-daemon"));
        }
    }

    #[test]
    fn what_the_url_does_not_tell_is_asked_for() {
        for (url, role, wanted) in [
            ("http://localhost/012345678901/logs", None, "--region"),
            ("https://sqs.eu-west-1.amazonaws.com/logs", None, "account"),
            ("https://sqs.eu-west-1.amazonaws.com/1234/logs", None, "12 digits"),
            ("https://sqs.eu-west-1.amazonaws.com/012345678901/logs", Some("margay"), "--daemon-role"),
        ] {
            let problem = Daemon::new(url, None, role).unwrap_err();
            assert!(problem.contains(wanted), "{problem}");
        }
    }
}
