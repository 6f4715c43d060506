//! Whether the policy of a queue lets the topics of an account send. Pure.
//!
//! Source: IAM user guide, "Policy evaluation logic" and "Condition operators"; only what policies of queues for SNS
//! say is understood, and the rest is told as such.

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Yes,
    No,
    /// A statement about sending has a condition that is not understood here.
    Perhaps,
}

/// `topics` is the start of the topics' ARNs, `arn:aws:sns:<region>:<account>:`.
pub(super) fn lets_send(policy: Option<&str>, account: &str, topics: &str) -> Answer {
    let policy: Value = policy.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let statements = many(&policy["Statement"]);
    let answers = statements.filter(|statement| is_about_sending(statement)).map(|statement| {
        let answer = of_conditions(&statement["Condition"], account, topics);
        if statement["Effect"] == "Allow" { (answer, Answer::No) } else { (Answer::No, answer) }
    });
    let (allowed, denied): (Vec<Answer>, Vec<Answer>) = answers.unzip();
    match (best(&allowed), best(&denied)) {
        (Answer::No, _) | (_, Answer::Yes) => Answer::No,
        (Answer::Yes, Answer::No) => Answer::Yes,
        _ => Answer::Perhaps,
    }
}

fn best(answers: &[Answer]) -> Answer {
    let is = |wanted: Answer| answers.contains(&wanted);
    if is(Answer::Yes) {
        Answer::Yes
    } else if is(Answer::Perhaps) {
        Answer::Perhaps
    } else {
        Answer::No
    }
}

/// A value, or each of a list.
fn many(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        Value::Null => [].iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    many(value).filter_map(Value::as_str)
}

fn is_about_sending(statement: &Value) -> bool {
    let action = |text: &str| {
        let text = text.to_ascii_lowercase();
        matches!(text.as_str(), "*" | "sqs:*" | "sqs:send*" | "sqs:sendmessage")
    };
    let principal = &statement["Principal"];
    let anybody = principal == "*" || texts(&principal["AWS"]).any(|text| text == "*");
    let sns = texts(&principal["Service"]).any(|text| text.starts_with("sns.") || text == "*");
    texts(&statement["Action"]).any(action) && (anybody || sns)
}

/// All conditions must hold.
fn of_conditions(conditions: &Value, account: &str, topics: &str) -> Answer {
    let operators = conditions.as_object().into_iter().flatten();
    let all = operators.flat_map(|(operator, keys)| {
        keys.as_object()
            .into_iter()
            .flatten()
            .map(move |(key, values)| of_condition(operator, key, values, account, topics))
    });
    let all: Vec<Answer> = all.collect();
    if all.contains(&Answer::No) {
        Answer::No
    } else if all.contains(&Answer::Perhaps) {
        Answer::Perhaps
    } else {
        Answer::Yes
    }
}

fn of_condition(operator: &str, key: &str, values: &Value, account: &str, topics: &str) -> Answer {
    let compares = ["ArnLike", "ArnEquals", "StringLike", "StringEquals"].contains(&operator);
    let fits = |any: bool| if any { Answer::Yes } else { Answer::No };
    match key.to_ascii_lowercase().as_str() {
        "aws:sourcearn" if compares => fits(texts(values).any(|pattern| covers(pattern, topics))),
        "aws:sourceaccount" if compares => fits(texts(values).any(|value| value == account || value == "*")),
        // SNS comes by HTTPS.
        "aws:securetransport" => fits(texts(values).any(|value| value == "true")),
        _ => Answer::Perhaps,
    }
}

/// Whether a pattern for ARNs takes topics whose ARNs begin so; part by part, because `*` ends at a colon there.
fn covers(pattern: &str, topics: &str) -> bool {
    let wanted: Vec<&str> = topics.split(':').take(5).collect();
    let parts: Vec<&str> = pattern.split(':').take(5).collect();
    pattern == "*"
        || (parts.len() == 5 && parts.iter().zip(&wanted).all(|(part, wanted)| *part == "*" || part == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(statement: &str) -> Answer {
        let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
        lets_send(Some(&policy), "111122223333", "arn:aws:sns:eu-west-1:111122223333:")
    }

    #[test]
    fn a_statement_for_the_account_lets_its_topics_send() {
        let with = |condition: &str| {
            format!(
                r#"{{"Effect":"Allow","Principal":{{"Service":"sns.amazonaws.com"}},"Action":"sqs:SendMessage",
                   "Resource":"q","Condition":{condition}}}"#
            )
        };
        for (condition, wanted) in [
            (r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:111122223333:*"}}"#, Answer::Yes),
            (r#"{"ArnLike":{"aws:SourceArn":["a","arn:aws:sns:eu-west-1:111122223333:t"]}}"#, Answer::Yes),
            (r#"{"StringEquals":{"aws:SourceAccount":"111122223333"}}"#, Answer::Yes),
            ("{}", Answer::Yes),
            (r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:999999999999:*"}}"#, Answer::No),
            (r#"{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#, Answer::Perhaps),
        ] {
            assert_eq!(answer(&with(condition)), wanted, "{condition}");
        }
    }

    #[test]
    fn what_is_denied_or_not_said_is_no() {
        assert_eq!(lets_send(None, "111122223333", "arn:aws:sns:eu-west-1:111122223333:"), Answer::No);
        let allow = r#"{"Effect":"Allow","Principal":"*","Action":"sqs:*","Resource":"q"}"#;
        let deny = r#"{"Effect":"Deny","Principal":"*","Action":["sqs:SendMessage"],"Resource":"q"}"#;
        assert_eq!(answer(allow), Answer::Yes);
        assert_eq!(answer(&format!("{allow},{deny}")), Answer::No);
        let plain = r#"{"Effect":"Deny","Principal":"*","Action":"sqs:*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#;
        assert_eq!(answer(&format!("{allow},{plain}")), Answer::Yes);
        let other = r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sqs:SendMessage"}"#;
        assert_eq!(answer(other), Answer::No);
    }
}
