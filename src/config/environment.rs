//! Environment variables as overlays of the configuration file. Says which variables are none of it.

use figment::providers::Env;
use figment::value::Value;

use super::layers::Overlay;

const PREFIX: &str = "MARGAY_";

/// Between the parts of a key; a single underscore belongs to a part.
const NESTING: &str = "__";

/// Read by the command line: the path of the configuration file itself.
const COMMAND_LINE: &str = "CONFIG";

/// Every variable with the prefix, name and value.
pub(super) fn variables() -> Vec<(String, String)> {
    prefixed(PREFIX)
}

/// Every variable with this prefix, name and value.
pub(super) fn prefixed(prefix: &str) -> Vec<(String, String)> {
    let env = Env::prefixed(prefix);
    env.iter().map(|(key, value)| (format!("{prefix}{}", key.as_str().to_ascii_uppercase()), value)).collect()
}

/// In the order of their names, so that `MARGAY_SOURCES` comes before `MARGAY_SOURCES__0__BUCKET`.
pub(super) fn overlays(mut variables: Vec<(String, String)>) -> Vec<Overlay> {
    variables.sort();
    let own = variables.into_iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(PREFIX)?;
        let foreign = key == COMMAND_LINE || is_service_link(key, &value);
        let path = path(key);
        (!foreign).then(|| Overlay { path, value: parse(&value), name, raw: value })
    });
    own.collect()
}

fn path(key: &str) -> Vec<String> {
    key.to_ascii_lowercase().split(NESTING).map(str::to_owned).collect()
}

/// Numbers, truth values, lists and tables as TOML writes them on one line; everything else is text.
fn parse(text: &str) -> Value {
    match text.parse() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// Whether Kubernetes made this variable. It sets some for every Service of the namespace, named after the Service,
/// in the shapes below; a Service `margay` or `margay-metrics` gives names that start with the prefix:
///
/// * `[<SERVICE>_]SERVICE_HOST` with an IP address
/// * `[<SERVICE>_]SERVICE_PORT[_<PORT NAME>]` with a number
/// * `[<SERVICE>_]PORT[_<NUMBER>_<TCP|UDP|SCTP>]` with a URL such as `tcp://10.0.0.1:9600`
/// * `[<SERVICE>_]PORT_<NUMBER>_<TCP|UDP|SCTP>_<PROTO|PORT|ADDR>`
///
/// The values are looked at too, so that `MARGAY_HTTP_PORT=9600`, which someone meant, is told and not passed over.
fn is_service_link(key: &str, value: &str) -> bool {
    if key.contains(NESTING) {
        return false;
    }
    let parts: Vec<&str> = key.split('_').collect();
    (0..parts.len()).any(|start| match &parts[start..] {
        ["SERVICE", "HOST"] => value.parse::<std::net::IpAddr>().is_ok(),
        ["SERVICE", "PORT", ..] => value.parse::<u16>().is_ok(),
        ["PORT"] => is_address(value),
        ["PORT", number, protocol] => is_port(number, protocol) && is_address(value),
        ["PORT", number, protocol, "PROTO" | "PORT" | "ADDR"] => is_port(number, protocol),
        _ => false,
    })
}

fn is_port(number: &str, protocol: &str) -> bool {
    number.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP")
}

fn is_address(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, value: &str) -> bool {
        !overlays(vec![(name.into(), value.into())]).is_empty()
    }

    #[test]
    fn variables_of_kubernetes_services_are_passed_over() {
        for (name, value) in [
            ("MARGAY_SERVICE_HOST", "10.1.2.3"),
            ("MARGAY_SERVICE_PORT", "9600"),
            ("MARGAY_SERVICE_PORT_HTTP", "9600"),
            ("MARGAY_PORT", "tcp://10.1.2.3:9600"),
            ("MARGAY_PORT_9600_TCP", "tcp://10.1.2.3:9600"),
            ("MARGAY_PORT_9600_TCP_PROTO", "tcp"),
            ("MARGAY_PORT_9600_TCP_PORT", "9600"),
            ("MARGAY_PORT_9600_TCP_ADDR", "10.1.2.3"),
            ("MARGAY_METRICS_SERVICE_HOST", "fd00::1"),
            ("MARGAY_METRICS_PORT_53_UDP", "udp://10.1.2.3:53"),
        ] {
            assert!(!kept(name, value), "{name}");
        }
    }

    #[test]
    fn variables_that_only_resemble_them_are_kept_and_so_told() {
        for (name, value) in [
            ("MARGAY_HTTP_PORT", "9600"),
            ("MARGAY_PORT", "9600"),
            ("MARGAY_PORT_9600_TCP_NAME", "x"),
            ("MARGAY_SERVICE_HOST", "somewhere"),
            ("MARGAY_HTTP__SERVICE_HOST", "10.1.2.3"),
            ("MARGAY_PORTS", "tcp://10.1.2.3:9600"),
        ] {
            assert!(kept(name, value), "{name}");
        }
    }

    #[test]
    fn names_are_cut_into_keys_at_double_underscores() {
        assert_eq!(path("QUEUE__SQS__WAIT_SECONDS"), ["queue", "sqs", "wait_seconds"]);
    }
}
