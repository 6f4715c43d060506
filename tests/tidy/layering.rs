//! Which module may name which, and where a vendor's crate may be named. Test modules may name what they like: they
//! need the fakes of other rooms.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, none, rust_files};

const EVERYTHING: &[&str] = &["*"];

/// Each module with the modules that it may name; `app` and `aws` are named by nothing but what says so.
const ALLOWED: &[(&str, &[&str])] = &[
    ("cli", EVERYTHING),
    ("app", EVERYTHING),
    ("aws", &["model", "runtime", "telemetry", "queue", "fetch", "source"]),
    (
        "config",
        &[
            "model",
            "queue",
            "fetch",
            "state",
            "lake",
            "logtype",
            "detect",
            "alert",
            "pipeline",
            "http",
            "search",
            "telemetry",
            "source",
            "remote",
        ],
    ),
    ("model", &[]),
    ("runtime", &["model"]),
    ("telemetry", &["model", "runtime"]),
    ("queue", &["model", "runtime", "telemetry"]),
    ("notify", &["model"]),
    ("topic", &["model"]),
    ("source", &["model", "runtime", "telemetry"]),
    ("fetch", &["model", "runtime", "telemetry"]),
    ("remote", &["model", "runtime", "telemetry", "fetch"]),
    ("decode", &["model"]),
    ("logtype", &["model", "decode"]),
    ("lookup", &["model", "runtime", "telemetry", "fetch", "decode", "logtype"]),
    ("detect", &["model", "runtime", "telemetry", "logtype", "lookup", "state"]),
    ("state", &["model", "runtime"]),
    ("alert", &["model", "runtime", "telemetry", "state"]),
    ("lake", &["model", "runtime", "telemetry", "state", "logtype"]),
    (
        "pipeline",
        &[
            "model",
            "runtime",
            "telemetry",
            "queue",
            "notify",
            "topic",
            "source",
            "fetch",
            "decode",
            "logtype",
            "detect",
            "state",
            "alert",
            "lake",
        ],
    ),
    ("search", &["model", "runtime", "telemetry", "lake", "logtype"]),
    ("schedule", &["model", "runtime", "telemetry", "search", "detect", "state", "lake", "pipeline"]),
    ("http", &["model", "runtime", "telemetry", "state", "alert", "search"]),
];

/// Concrete adapters; only their own module and `app` name them. Everything else works through the port.
const ADAPTERS: &[(&str, &[&str])] = &[
    ("queue", &["sqs", "directory", "memory"]),
    ("topic", &["sns", "none", "memory"]),
    ("fetch", &["s3", "directory", "memory"]),
    ("source", &["kms"]),
    ("state", &["sqlite", "postgres", "memory"]),
    ("lake", &["none", "memory", "iceberg"]),
];

/// The benchmark is a composition root too: it builds a daemon of fakes, and its own input.
const BENCHMARK: &str = "src/cli/bench/";

/// Names in code, and the only places where they may stand.
const VENDORS: &[(&str, &[&str])] = &[
    ("rustpython_", &["src/detect/python/"]),
    ("ruff_", &["src/detect/guard/"]),
    (
        "aws_config::",
        &[
            "src/aws.rs",
            "src/app.rs",
            "src/app/",
            "src/alert/destination/",
            "src/queue/",
            "src/topic/",
            "src/fetch/",
            "src/source/",
        ],
    ),
    ("aws_sdk_sqs::", &["src/aws.rs", "src/app.rs", "src/alert/destination/", "src/queue/"]),
    ("aws_sdk_sns::", &["src/alert/destination/", "src/topic/"]),
    ("lettre::", &["src/alert/destination/"]),
    ("hyper::", &["src/alert/", "src/http/", "src/lake/iceberg/", "src/telemetry/spans/"]),
    ("rustls::", &["src/alert/outbound/", "src/runtime/web.rs"]),
    ("url::", &["src/alert/", "src/http/"]),
    (
        "aws_sdk_s3::",
        &["src/aws.rs", "src/app.rs", "src/app/lake.rs", "src/fetch/", "src/source/", "src/lake/iceberg/warehouse/"],
    ),
    ("aws_sdk_kms::", &["src/source/"]),
    ("aws_sdk_sts::", &["src/aws.rs", "src/app.rs", "src/source/"]),
    ("sqlx::", &["src/state/", "src/lake/iceberg/"]),
    ("datafusion::", &["src/search/"]),
    ("iceberg::", &["src/lake/", "src/app/"]),
    ("axum::", &["src/http/"]),
    ("prometheus::", &["src/telemetry/"]),
    ("tracing_subscriber::", &["src/telemetry/"]),
    ("tracing_appender::", &["src/telemetry/"]),
    ("figment::", &["src/config/"]),
    ("toml::", &["src/config/"]),
    ("clap::", &["src/cli/", "src/main.rs"]),
    ("flate2::", &["src/decode/", BENCHMARK]),
    ("env::var", &["src/config/"]),
    ("env::set_var", &[]),
];

fn allowed(module: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

/// `src/fetch/s3/mod.rs` is of `fetch`, `src/app.rs` of `app`.
fn module_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

#[test]
fn modules_name_only_what_lies_below_them() {
    let mut broken = Vec::new();
    for path in rust_files("src") {
        let module = module_of(&path);
        let code = code(&path);
        let named = paths_after(&code, if module == "main" { "margay::" } else { "crate::" });
        let allowed = match module {
            "main" => &["cli"][..],
            "lib" => &[],
            module => match allowed(module) {
                Some(allowed) => allowed,
                None => {
                    broken
                        .push(format!("{path}: `{module}` is not in the table of layers; say there what it may name"));
                    continue;
                }
            },
        };
        let first: BTreeSet<&str> = named.iter().filter_map(|path| path.first().map(String::as_str)).collect();
        for other in first.into_iter().filter(|other| *other != module && allowed_name(other)) {
            let only_app = other == "aws" && module != "app";
            if only_app || !(allowed == EVERYTHING || allowed.contains(&other)) {
                broken.push(format!("{path}: `{module}` may not name `{other}`"));
            }
        }
    }
    none(broken);
}

/// A module of the table; what else stands after `crate::` is no module (a macro, an item of `lib.rs`).
fn allowed_name(name: &str) -> bool {
    allowed(name).is_some()
}

#[test]
fn only_the_composition_root_names_adapters() {
    let mut broken = Vec::new();
    for path in rust_files("src") {
        let module = module_of(&path);
        for named in paths_after(&code(&path), "crate::") {
            let [room, part, ..] = &named[..] else { continue };
            let is_adapter = ADAPTERS.iter().any(|(name, parts)| name == room && parts.contains(&part.as_str()));
            if is_adapter && module != room && module != "app" && !path.starts_with(BENCHMARK) {
                broken.push(format!("{path}: only `app` names the adapter `{room}::{part}`"));
            }
        }
    }
    none(broken);
}

#[test]
fn vendors_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for path in rust_files("src") {
        let code = code(&path);
        for (name, places) in VENDORS {
            let found = code.match_indices(name).any(|(at, _)| !code[..at].ends_with(is_name_char));
            if found && !places.iter().any(|place| path.starts_with(place)) {
                broken.push(format!("{path} names `{name}`; its places are {places:?}"));
            }
        }
    }
    none(broken);
}

/// `super::` often enough leads out of a module and past this table.
#[test]
fn no_module_climbs_out_of_itself() {
    let mut broken = Vec::new();
    for path in rust_files("src").into_iter().filter(|path| path.matches('/').count() > 1) {
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let depth = inside.split('/').count();
        if code(&path).contains(&"super::".repeat(depth)) {
            broken.push(format!("{path} reaches the crate through `super::`; write `crate::`"));
        }
    }
    none(broken);
}

#[test]
fn the_table_of_layers_has_no_cycle() {
    let mut open: BTreeMap<&str, &[&str]> =
        ALLOWED.iter().filter(|(_, below)| *below != EVERYTHING).map(|(name, below)| (*name, *below)).collect();
    while !open.is_empty() {
        let leaf = open.iter().find(|(_, below)| below.iter().all(|name| !open.contains_key(name)));
        let leaf = *leaf.unwrap_or_else(|| panic!("a cycle runs through {:?}", open.keys())).0;
        open.remove(leaf);
    }
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path that follows `prefix` in the code, groups in braces taken apart.
fn paths_after(code: &str, prefix: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if !code[..at].ends_with(is_name_char) {
            read_path(&mut code[at + prefix.len()..].trim_start(), &[], &mut paths);
        }
    }
    paths
}

/// Reads one path or group off the front of `rest`.
fn read_path(rest: &mut &str, above: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = above.to_vec();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            *rest = group.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                let before = rest.len();
                read_path(rest, &path, paths);
                let end = rest.find([',', '}']).unwrap_or(rest.len());
                *rest = rest[end..].trim_start_matches(',').trim_start();
                assert!(rest.len() < before || rest.starts_with('}'), "a group of `use` can't be read");
            }
            *rest = rest.strip_prefix('}').unwrap_or(rest);
            return;
        }
        let end = rest.find(|c| !is_name_char(c)).unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        *rest = &rest[end..];
        match rest.strip_prefix("::") {
            Some(deeper) => *rest = deeper,
            None => break,
        }
    }
    paths.push(path);
}

#[test]
fn groups_of_imports_are_taken_apart() {
    let code = "use crate::{a, b::{c, d as e},\n f::g};\nlet x = crate::h::i(crate::j);\npub(crate) fn k() {}";
    let named: Vec<String> = paths_after(code, "crate::").iter().map(|path| path.join("::")).collect();
    assert_eq!(named, ["a", "b::c", "b::d", "f::g", "h::i", "j"]);
}
