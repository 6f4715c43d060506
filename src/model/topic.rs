//! The name of an SNS topic, taken apart. Source: Amazon SNS developer guide, ARN format of the service authorization
//! reference.

use std::fmt;

/// `arn:<partition>:sns:<region>:<account>:<name>`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicArn {
    arn: String,
    region: String,
    account: String,
}

impl TopicArn {
    /// `None` for anything else. Strict, because the region becomes part of a host's name.
    pub fn parse(arn: &str) -> Option<TopicArn> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else { return None };
        let plain = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        // A FIFO topic's name ends with `.fifo`.
        let sound = partition.starts_with("aws") && plain(partition, "-") && plain(region, "-") && plain(name, "-_.");
        (sound && is_account && name.len() <= 256).then(|| TopicArn {
            arn: arn.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.arn
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// The account that owns the topic, 12 digits.
    pub fn account(&self) -> &str {
        &self.account
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topics_arn_has_region_and_account() {
        for arn in ["arn:aws:sns:us-west-2:111122223333:logs", "arn:aws-cn:sns:us-west-2:111122223333:a_b-c.fifo"] {
            let topic = TopicArn::parse(arn).unwrap();
            assert_eq!((topic.as_str(), topic.region(), topic.account()), (arn, "us-west-2", "111122223333"));
        }
    }

    #[test]
    fn what_is_no_topics_arn_is_none() {
        for text in [
            "",
            "logs",
            "arn:aws:sqs:us-west-2:111122223333:logs",
            "arn:aws:sns:us-west-2:1111:logs",
            "arn:aws:sns::111122223333:logs",
            "arn:aws:sns:evil.example/:111122223333:logs",
            "arn:aws:sns:us-west-2:111122223333:",
            // A subscription's ARN.
            "arn:aws:sns:us-west-2:111122223333:logs:68762e72",
        ] {
            assert_eq!(TopicArn::parse(text), None, "{text}");
        }
    }
}
