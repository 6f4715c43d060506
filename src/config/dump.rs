//! The effective configuration as TOML, for people to read and to paste into a question: without secrets.

use toml::Value;

use super::Config;

/// Keys whose value is never shown, in whatever section they stand.
const SECRET_KEYS: [&str; 1] = ["external_id"];

const MASK: &str = "***";

pub(super) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// Every key with its effective value, secrets masked. Optional keys without a value are left out.
pub fn dump(config: &Config) -> String {
    let config = super::paths::as_written(config);
    let mut value = Value::try_from(&config).expect("a configuration has string keys and TOML's value types only");
    mask(&mut value);
    toml::to_string(&value).expect("a TOML value can be written as TOML")
}

fn mask(value: &mut Value) {
    match value {
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                match value {
                    Value::String(text) if is_secret(key) => *text = MASK.into(),
                    other => mask(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) => *text = without_userinfo(text),
        _ => {}
    }
}

/// A URL may carry a name and a password before its host.
fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{tail}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceConfig;

    fn config() -> Config {
        let source = SourceConfig { external_id: Some("hunter2".into()), ..SourceConfig::new("logs", "b", Vec::new()) };
        let mut config = Config { sources: vec![source], ..Config::default() };
        config.queue.sqs.url = Some("https://user:hunter2@queue.example/1/q?x=a@b".into());
        config.state.postgres.url = Some("postgres://user:hunter2@db.example/margay".into());
        config
    }

    #[test]
    fn a_dump_is_a_configuration_again() {
        let config = Config::default();
        let back: Config = toml::from_str(&dump(&config)).unwrap();
        assert_eq!(back, config);
    }

    #[test]
    fn a_dump_has_no_secrets() {
        let text = dump(&config());
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("external_id = \"***\""), "{text}");
        assert!(text.contains("https://***@queue.example/1/q?x=a@b"), "{text}");
    }

    #[test]
    fn a_url_without_userinfo_stays_as_it_is() {
        for text in ["https://queue.example/a@b", "plain", "a@b"] {
            assert_eq!(without_userinfo(text), text);
        }
    }
}
