//! What a start or a reload may do to log types of which events are kept: the schemas that are loaded, against the
//! revisions that were in use last. Pure; whoever calls keeps the outcome.
//!
//! Own schemas are held to their last revision. A built-in one that changed came with a new version of margay: nobody
//! could act on a refusal, so it is told and used.

use super::evolve::{Change, Verdict, changes};
use super::registry::{Origin, Registry};
use super::schema::Schema;
use crate::model::Revision;

/// Log types that may be used.
#[derive(Debug)]
pub struct Settled {
    /// Knows the versions.
    pub log_types: Registry,
    /// To be remembered before any event is made.
    pub new: Vec<Revision>,
    pub warnings: Vec<String>,
}

/// Every log type that is `used` has a revision afterwards. One that no source uses may still be changed at will,
/// unless it was used before.
pub fn settle(
    mut log_types: Registry,
    used: &[&str],
    last: &[Revision],
    allow_widening: bool,
) -> Result<Settled, Vec<String>> {
    let (mut new, mut warnings, mut problems, mut versions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for schema in log_types.schemas() {
        let name = &schema.name;
        let is_used = used.iter().any(|used| used.eq_ignore_ascii_case(name));
        let text = log_types.text(name).expect("it is a name of the registry");
        let before = last.iter().find(|revision| revision.log_type.eq_ignore_ascii_case(name));
        let Some(before) = before else {
            if is_used {
                versions.push((name.clone(), 1));
                new.push(Revision { log_type: name.to_string(), version: 1, text: text.to_owned() });
            }
            continue;
        };
        if before.text == text {
            versions.push((name.clone(), before.version));
            continue;
        }
        let found = match Schema::from_yaml(&before.text, "its last revision", Some(name)) {
            Ok(old) => refused(&old, schema, allow_widening),
            // Written by a version of margay that took it; what it says can't be compared any more.
            Err(errors) => {
                let reason = errors.first().map(ToString::to_string).unwrap_or_default();
                warnings.push(format!(
                    "log type {name}: the last revision can't be read, so changes are not checked ({reason})"
                ));
                Vec::new()
            }
        };
        let told = found.iter().map(|change| format!("log type {name}: {change}{}", remedy(change)));
        match log_types.origin(name) {
            Ok(Origin::File(path)) => problems.extend(told.map(|told| format!("{}: {told}", path.display()))),
            _ => warnings.extend(told.map(|told| format!("{told}; it is built in and used nevertheless"))),
        }
        let version = before.version.saturating_add(1);
        if is_used {
            new.push(Revision { log_type: name.to_string(), version, text: text.to_owned() });
        }
        versions.push((name.clone(), version));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    versions.into_iter().for_each(|(name, version)| log_types.set_version(&name, version));
    Ok(Settled { log_types, new, warnings })
}

fn refused(old: &Schema, new: &Schema, allow_widening: bool) -> Vec<Change> {
    let may = |change: &Change| match change.verdict() {
        Verdict::Allowed => true,
        Verdict::Widening => allow_widening,
        Verdict::Refused => false,
    };
    changes(old, new).into_iter().filter(|change| !may(change)).collect()
}

fn remedy(change: &Change) -> &'static str {
    match change.verdict() {
        Verdict::Widening => "; `log_types.allow_widening = true` accepts it",
        Verdict::Allowed | Verdict::Refused => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry with one own log type.
    fn registry(folder: &tempfile::TempDir, fields: &str) -> Registry {
        let path = folder.path().join("Custom.Own.yml");
        std::fs::write(&path, format!("version: 0\nfields: [{fields}]\n")).unwrap();
        Registry::built_in().with_files(&[path]).unwrap()
    }

    const USED: &[&str] = &["custom.own", "Okta.SystemLog"];
    const FIRST: &str = "{name: a, type: int}";

    #[test]
    fn used_log_types_get_versions_that_grow_with_every_accepted_change() {
        let folder = tempfile::tempdir().unwrap();
        let first = settle(registry(&folder, FIRST), USED, &[], false).unwrap();
        let names: Vec<_> = first.new.iter().map(|new| (new.log_type.as_str(), new.version)).collect();
        assert_eq!(names, [("Custom.Own", 1), ("Okta.SystemLog", 1)]);
        assert_eq!(first.log_types.version("CUSTOM.OWN"), Some(1));
        assert_eq!(first.log_types.version("AWS.CloudTrail"), None);

        let same = settle(registry(&folder, FIRST), USED, &first.new, false).unwrap();
        assert_eq!((same.new.len(), same.log_types.version("Custom.Own")), (0, Some(1)));

        let more = "{name: a, type: int, description: d}, {name: b, type: json}";
        let changed = settle(registry(&folder, more), USED, &first.new, false).unwrap();
        assert_eq!(changed.new.len(), 1);
        assert_eq!((changed.new[0].version, changed.log_types.version("Custom.Own")), (2, Some(2)));
    }

    #[test]
    fn what_stored_events_do_not_allow_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let last =
            settle(registry(&folder, "{name: a, type: int}, {name: b, type: string}"), USED, &[], false).unwrap().new;
        let broken = "{name: a, type: bigint}, {name: c, type: string}";
        let problems = settle(registry(&folder, broken), &[], &last, false).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("Custom.Own.yml: log type Custom.Own: `a` is widened"), "{problems:?}");
        assert!(problems[0].ends_with("`log_types.allow_widening = true` accepts it"), "{problems:?}");
        assert!(problems[1].contains("`b` is gone"), "{problems:?}");
        assert_eq!(settle(registry(&folder, broken), &[], &last, true).unwrap_err().len(), 1);
        let wider = "{name: a, type: bigint}, {name: b, type: string}";
        assert_eq!(settle(registry(&folder, wider), USED, &last, true).unwrap().new[0].version, 2);
    }

    #[test]
    fn a_draft_that_no_source_uses_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let draft = settle(registry(&folder, FIRST), &[], &[], false).unwrap();
        assert_eq!((draft.new.len(), draft.log_types.version("Custom.Own")), (0, None));
    }

    #[test]
    fn a_built_in_schema_that_changed_is_told_and_used() {
        let old = "version: 0\nfields: [{name: no_more, type: string}]";
        let last = [Revision { log_type: "Okta.SystemLog".into(), version: 4, text: old.into() }];
        let settled = settle(Registry::built_in(), &["Okta.SystemLog"], &last, false).unwrap();
        assert!(settled.warnings[0].contains("`no_more` is gone"), "{:?}", settled.warnings);
        assert_eq!((settled.new[0].version, settled.log_types.version("Okta.SystemLog")), (5, Some(5)));
    }

    #[test]
    fn a_revision_that_can_not_be_read_is_told_and_followed() {
        let folder = tempfile::tempdir().unwrap();
        let last = [Revision { log_type: "Custom.Own".into(), version: 1, text: "version: 7".into() }];
        let settled = settle(registry(&folder, FIRST), USED, &last, false).unwrap();
        assert!(settled.warnings[0].contains("can't be read"), "{:?}", settled.warnings);
        assert_eq!(settled.log_types.version("Custom.Own"), Some(2));
    }
}
