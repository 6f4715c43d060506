//! What differs between two configurations, apart from what a running daemon takes over: sources, log types and
//! destinations. Keys only; a value may be a secret.

use toml::Value;

use super::Config;

/// Dotted keys, of lists as a whole.
pub fn changed_keys(before: &Config, after: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    differences(&value(before), &value(after), "", &mut keys);
    keys.sort();
    keys
}

fn value(config: &Config) -> Value {
    // What is taken over makes no difference.
    let mut config = Config { sources: Vec::new(), log_types: Default::default(), ..config.clone() };
    config.alerts.destinations.clear();
    config.alerts.stdout = Default::default();
    Value::try_from(config).expect("a configuration has string keys and TOML's value types only")
}

fn differences(before: &Value, after: &Value, key: &str, keys: &mut Vec<String>) {
    let (Value::Table(old), Value::Table(new)) = (before, after) else {
        if before != after {
            keys.push(key.to_owned());
        }
        return;
    };
    let nothing = Value::Array(Vec::new());
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    for name in names {
        let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        differences(old.get(name).unwrap_or(&nothing), new.get(name).unwrap_or(&nothing), &inner, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_a_running_daemon_does_not_take_over_are_named() {
        let before = Config::default();
        let mut after = before.clone();
        after.log_types.directories.push("types".into());
        after.alerts.stdout.enabled = false;
        assert_eq!(changed_keys(&before, &after), [""; 0]);
        after.pipeline.max_in_flight += 1;
        after.queue.sqs.url = Some("https://queue.example/1/q".into());
        after.rules.directories.push("rules".into());
        assert_eq!(changed_keys(&before, &after), ["pipeline.max_in_flight", "queue.sqs.url", "rules.directories"]);
        assert_eq!(changed_keys(&after, &before), changed_keys(&before, &after));
    }
}
