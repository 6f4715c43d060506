//! Every dependency's licence is one that a program under Apache-2.0 can be made and given away with.

use std::process::Command;

use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};

use super::{none, root};

/// Licences by their SPDX names, with the reason why each is fine.
const ALLOWED: &[(&str, &str)] = &[
    ("Apache-2.0", "our own"),
    ("MIT", "permissive"),
    ("MIT-0", "permissive"),
    ("0BSD", "permissive, without any condition"),
    ("BSD-2-Clause", "permissive"),
    ("BSD-2-Clause-Views", "BSD-2-Clause with a disclaimer of views"),
    ("BSD-3-Clause", "permissive"),
    ("BSL-1.0", "permissive"),
    ("ISC", "permissive"),
    ("Zlib", "permissive"),
    ("bzip2-1.0.6", "permissive, BSD-like"),
    ("Unlicense", "public domain"),
    ("CC0-1.0", "public domain"),
    ("PSF-2.0", "permissive; Python's own"),
    ("Unicode-3.0", "permissive; tables of Unicode"),
    ("Unicode-DFS-2016", "permissive; tables of Unicode"),
];

/// Crates judged one by one: name, the licence it must then have (`-` when it only ships a file), the reason.
const JUDGED: &[(&str, &str, &str)] = &[
    ("malachite-base", "LGPL-3.0-only", "RustPython's integers; our source and Cargo.lock allow anyone to relink"),
    ("malachite-bigint", "LGPL-3.0-only", "as malachite-base"),
    ("malachite-nz", "LGPL-3.0-only", "as malachite-base"),
    ("malachite-q", "LGPL-3.0-only", "as malachite-base"),
    ("mt19937", "-", "its LICENSE is BSD-3-Clause"),
    ("rustpython-doc", "-", "its LICENSE is Python's own"),
    ("rustpython-pylib", "-", "its Lib/PSF-LICENSE is Python's own"),
    ("syn-ext", "-", "its LICENSE is BSD-2-Clause"),
];

fn is_allowed(requirement: &LicenseReq) -> bool {
    let plain = requirement.addition.is_none();
    let exception = requirement.addition.as_ref().is_some_and(|addition| addition.to_string() == "LLVM-exception");
    let name = requirement.license.to_string();
    // The exception only adds freedom to Apache-2.0.
    ALLOWED.iter().any(|(allowed, _)| *allowed == name) && (plain || exception)
}

fn judge(name: &str, licence: Option<&str>) -> Result<(), String> {
    if let Some((_, judged, _)) = JUDGED.iter().find(|(judged, _, _)| *judged == name) {
        let found = licence.unwrap_or("-");
        return if found == *judged {
            Ok(())
        } else {
            Err(format!("{name} was judged as {judged} and is now {found}"))
        };
    }
    let licence = licence.ok_or_else(|| format!("{name} names no licence; read its file and judge it"))?;
    let parsed = Expression::parse_mode(licence, ParseMode::LAX)
        .map_err(|error| format!("the licence of {name} can't be read: {}", error.reason))?;
    if parsed.evaluate(is_allowed) { Ok(()) } else { Err(format!("{name} is under {licence}, which is not allowed")) }
}

/// The dependencies of this platform, build and test tools among them: cargo has only those at hand without a network.
fn dependencies() -> Vec<Value> {
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs: it has just compiled this");
    let version = String::from_utf8(version.stdout).expect("rustc speaks UTF-8");
    let platform = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", platform])
        .current_dir(root())
        .output()
        .expect("cargo runs: it has just started this");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let mut metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo metadata writes JSON");
    match metadata["packages"].take() {
        Value::Array(packages) => packages,
        other => panic!("cargo metadata lists packages, not {other}"),
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let packages = dependencies();
    let name = |package: &Value| package["name"].as_str().expect("a package has a name").to_owned();
    let judged = packages.iter().map(|package| judge(&name(package), package["license"].as_str()));
    let mut broken: Vec<String> = judged.filter_map(Result::err).collect();
    let gone = JUDGED.iter().filter(|(judged, _, _)| !packages.iter().any(|package| name(package) == *judged));
    broken.extend(gone.map(|(judged, _, _)| format!("{judged} is judged here and is no dependency any more")));
    none(broken);
}

#[test]
fn licences_are_judged_by_their_whole_expression() {
    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "Apache-2.0 WITH LLVM-exception", "MIT AND ISC"] {
        assert_eq!(judge("x", Some(good)), Ok(()), "{good}");
    }
    for bad in ["GPL-3.0-only", "MIT AND AGPL-3.0-only", "LGPL-3.0-only", "nonsense"] {
        assert!(judge("x", Some(bad)).is_err(), "{bad}");
    }
    assert!(judge("x", None).is_err());
    assert!(judge("malachite-base", Some("GPL-3.0-only")).is_err());
}
