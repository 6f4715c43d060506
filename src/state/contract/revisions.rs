//! Revisions of schemas, and the fields that they do not have.

use time::Duration;

use crate::model::{Revision, UnknownField};
use crate::state::fixtures::START;
use crate::state::{FIELD_LIMIT, StateStore};

fn revision(log_type: &str, version: u32, text: &str) -> Revision {
    Revision { log_type: log_type.into(), version, text: text.into() }
}

fn field(path: &str) -> UnknownField {
    UnknownField { path: path.into(), kind: "a string".into() }
}

pub(in crate::state) async fn the_last_revision_of_each_log_type_is_remembered<S: StateStore>(store: &S) {
    assert_eq!(store.revisions().await.unwrap(), []);
    let (a, b) = (revision("Custom.A", 1, "a1"), revision("Custom.B", 1, "b1"));
    assert!(store.revise(&[b.clone(), a.clone()], START).await.unwrap());
    assert_eq!(store.revisions().await.unwrap(), [a.clone(), b]);
    let b = revision("custom.b", 2, "b2");
    assert!(store.revise(std::slice::from_ref(&b), START).await.unwrap());
    assert_eq!(store.revisions().await.unwrap(), [a, b]);
}

pub(in crate::state) async fn a_revision_that_does_not_follow_the_last_refuses_them_all<S: StateStore>(store: &S) {
    assert!(!store.revise(&[revision("Custom.A", 2, "")], START).await.unwrap());
    let first = revision("Custom.A", 1, "a1");
    assert!(store.revise(std::slice::from_ref(&first), START).await.unwrap());
    for late in [1, 3] {
        let both = [revision("Custom.B", 1, "b1"), revision("CUSTOM.A", late, "other")];
        assert!(!store.revise(&both, START).await.unwrap());
        assert_eq!(store.revisions().await.unwrap(), std::slice::from_ref(&first));
    }
}

pub(in crate::state) async fn a_field_is_new_once<S: StateStore>(store: &S) {
    let (a, b) = (field("a"), field("b.c"));
    let both = [b.clone(), a.clone(), b.clone()];
    assert_eq!(store.discover("Custom.A", &both, START).await.unwrap(), [b.clone(), a.clone()]);
    let later = START + Duration::HOUR;
    assert_eq!(store.discover("custom.a", &both, later).await.unwrap(), []);
    assert_eq!(store.discover("Custom.B", std::slice::from_ref(&a), later).await.unwrap(), std::slice::from_ref(&a));
    let known = store.unknown_fields("CUSTOM.A").await.unwrap();
    assert!(known.iter().all(|seen| seen.since == START), "{known:?}");
    assert_eq!(known.into_iter().map(|seen| seen.field).collect::<Vec<_>>(), [a, b]);
}

pub(in crate::state) async fn fields_are_bounded_and_hostile_names_survive<S: StateStore>(store: &S) {
    let hostile = field("'; DROP TABLE x; --\u{0}\n\u{202e}é");
    store.discover("Custom.A", std::slice::from_ref(&hostile), START).await.unwrap();
    let many: Vec<_> = (0..FIELD_LIMIT + 20).map(|n| field(&format!("f{n:04}"))).collect();
    let new = store.discover("Custom.A", &many, START).await.unwrap();
    assert_eq!(new.len(), FIELD_LIMIT as usize - 1);
    let known = store.unknown_fields("Custom.A").await.unwrap();
    assert_eq!(known.len(), FIELD_LIMIT as usize);
    assert_eq!(known[0].field, hostile);
    assert_eq!(store.discover("Custom.B", &many[..1], START).await.unwrap(), many[..1]);
}

pub(in crate::state) async fn a_new_revision_begins_without_unknown_fields<S: StateStore>(store: &S) {
    for log_type in ["Custom.A", "Custom.B"] {
        store.discover(log_type, &[field("a")], START).await.unwrap();
    }
    assert!(store.revise(&[revision("custom.a", 1, "")], START).await.unwrap());
    assert_eq!(store.unknown_fields("Custom.A").await.unwrap(), []);
    assert_eq!(store.unknown_fields("Custom.B").await.unwrap().len(), 1);
}
