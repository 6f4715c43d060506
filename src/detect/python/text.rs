//! Shortening of texts that rules give. Lengths are counted in characters, as in Python.

/// Stands at the end of a text that was shortened.
pub(super) const SUFFIX: &str = "... (truncated)";

/// A text longer than `limit` characters becomes exactly `limit` long, suffix included.
pub(super) fn shorten(mut text: String, limit: usize) -> String {
    if text.len() <= limit || text.chars().nth(limit).is_none() {
        return text;
    }
    let keep = limit.saturating_sub(SUFFIX.chars().count());
    let end = text.char_indices().nth(keep).map_or(text.len(), |(at, _)| at);
    text.truncate(end);
    text.push_str(SUFFIX);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_only_above_its_limit() {
        for (length, limit, expected) in [(0, 20, 0), (20, 20, 20), (21, 20, 20), (5000, 1000, 1000)] {
            for character in ["a", "ä", "😀"] {
                let text = shorten(character.repeat(length), limit);
                assert_eq!(text.chars().count(), expected);
                assert_eq!(text.ends_with(SUFFIX), length > limit);
            }
        }
        assert_eq!(shorten("abcdefghijklmnopqrstu".into(), 20), "abcde... (truncated)");
    }
}
