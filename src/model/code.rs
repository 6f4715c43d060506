//! Why something is kept aside, in one word that does not change: for grouping, for programs, for labels of metrics.
//! The prose behind it is for people and may change.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $word:literal,)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)+
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$name),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $word,)+
                }
            }
        }
    };
}

codes! {
    /// The body of a message is no notification.
    BadMessage "bad_message",
    /// A record of a notification names no object.
    BadRecord "bad_record",
    /// … or a key that can't be decoded.
    BadKey "bad_key",
    /// The work on it panicked again and again.
    Panic "panic",
    /// The work on it never came to an end.
    CrashSuspect "crash_suspect",
    /// No rule worker survives its events.
    RuleCrash "rule_crash",

    Truncated "truncated",
    Corrupt "corrupt",
    UnsupportedContainer "unsupported_container",
    TooManyLayers "too_many_layers",
    /// It grows out of proportion, or beyond the size that an object may have.
    Bomb "bomb",
    /// Reading it needs too much memory at once.
    TooWide "too_wide",
    NotParquet "not_parquet",
    Binary "binary",
    BadEncoding "bad_encoding",
    Doctype "doctype",
    Syntax "syntax",

    NoSuchBucket "no_such_bucket",
    /// The role's policy, the bucket's policy, the object's owner.
    AccessDenied "access_denied",
    /// The role may not use the key that encrypts the object.
    KmsDenied "kms_denied",
    /// The key is disabled, about to be deleted, or gone.
    KmsKeyUnusable "kms_key_unusable",
    /// The role's trust policy, or the daemon's own.
    AssumeRoleDenied "assume_role_denied",
}

impl Code {
    /// The text of a reason as it is stored: the word, then the prose.
    pub fn with(self, prose: impl fmt::Display) -> String {
        format!("{}: {prose}", self.as_str())
    }

    /// The word that a stored reason begins with; `None` for one that has no code.
    pub fn of(reason: &str) -> Option<Code> {
        let (word, _) = reason.split_once(": ")?;
        Code::ALL.iter().copied().find(|code| code.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_one_word_and_is_found_again() {
        for code in Code::ALL {
            let word = code.as_str();
            assert!(word.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{word}");
            assert_eq!(Code::of(&code.with("a: b")), Some(*code));
        }
        for other in ["", "bomb", "bombs: x", "the key: it is bad"] {
            assert_eq!(Code::of(other), None, "{other}");
        }
    }
}
