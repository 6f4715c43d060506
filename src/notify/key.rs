//! Keys as S3 event notifications spell them: `application/x-www-form-urlencoded`.
//!
//! The decoded key is never normalised: no `..` is resolved, no case folded, no Unicode form changed.

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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn every_key_survives_form_encoding(key in any::<String>()) {
            let encoded: String = key.bytes().map(|byte| match byte {
                b' ' => "+".into(),
                b'a'..=b'z' | b'/' | b'.' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            }).collect();
            prop_assert_eq!(decode_form(&encoded), Ok(key));
        }
    }
}
