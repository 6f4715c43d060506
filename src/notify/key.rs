//! The two spellings of keys: `application/x-www-form-urlencoded`, as S3 event notifications have them, and verbatim.
//! Senders confuse them, so an announced object carries its key in the other reading as well.
//!
//! The decoded key is never normalised: no `..` is resolved, no case folded, no Unicode form changed.

use super::{Announced, Cause};
use crate::model::ObjectRef;

/// An object whose key stood in the notification as it is.
pub(super) fn verbatim(object: ObjectRef, cause: Cause) -> Announced {
    let other_key = decode_form(&object.key).ok().filter(|other| *other != object.key);
    Announced { object, cause, other_key }
}

/// An object whose key stood in the notification as `encoded`.
pub(super) fn decoded(object: ObjectRef, encoded: &str, cause: Cause) -> Announced {
    let other_key = (encoded != object.key).then(|| encoded.to_owned());
    Announced { object, cause, other_key }
}

/// `+` is a space, then `%XX` is a byte, and the bytes must be UTF-8. The error says what is wrong with it.
pub(super) fn decode_form(encoded: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = (rest.next().and_then(hex), rest.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(format!("the key {encoded:?} has a % that is not followed by two hex digits"));
                };
                bytes.push(high << 4 | low);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("the key {encoded:?} is not UTF-8 once it is decoded"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_is_a_space_and_an_escaped_plus_is_a_plus() {
        for (encoded, key) in [
            ("red+flower%2B1.json.gz", "red flower+1.json.gz"),
            ("a%2Fb%2fc", "a/b/c"),
            ("caf%C3%A9/%E2%98%83", "café/☃"),
            ("../a/./b//c", "../a/./b//c"),
            ("100%25", "100%"),
            ("%252B", "%2B"),
            ("", ""),
        ] {
            assert_eq!(decode_form(encoded).as_deref(), Ok(key));
        }
    }

    #[test]
    fn broken_escapes_are_told_and_not_guessed() {
        for encoded in ["%", "a%2", "%zz", "%+1", "%C3", "%ff%fe"] {
            let error = decode_form(encoded).unwrap_err();
            assert!(error.contains(&format!("{encoded:?}")), "{error}");
        }
    }
}
