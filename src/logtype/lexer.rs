//! The tokens of JSON, one after the other, as they stand in the text.

use wide::u8x16;

/// What is wrong with the text at the present place.
pub(super) type Parsed<T> = Result<T, &'static str>;

pub(super) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

/// A piece of a text, or of what was made behind it: text that is spelled with escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    at: u32,
    len: u32,
}

pub(super) enum Word {
    True,
    False,
    Null,
}

impl Piece {
    pub(super) const EMPTY: Piece = Piece { at: 0, len: 0 };

    pub(super) fn new(at: usize, end: usize) -> Piece {
        let number = |count: usize| u32::try_from(count).expect("a record is far smaller than 4 GiB");
        Piece { at: number(at), len: number(end - at) }
    }

    #[inline(always)]
    pub(super) fn read<'t>(self, text: &'t str, made: &'t str) -> &'t str {
        let (at, len) = (self.at as usize, self.len as usize);
        match at.checked_sub(text.len()) {
            Some(beyond) => &made[beyond..][..len],
            None => &text[at..][..len],
        }
    }
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, bytes: text.as_bytes(), at: 0 }
    }

    /// Bytes before the present place.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Bytes that are left, without white space at either end.
    pub(super) fn left(&self) -> usize {
        self.bytes[self.at..].trim_ascii().len()
    }

    /// Skips white space, of which most records have none, and looks at the next byte.
    #[inline(always)]
    pub(super) fn token(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.token_behind_space(),
        }
    }

    #[cold]
    fn token_behind_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Goes past the token that was looked at.
    #[inline]
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// Whether a container that has just begun ends at once.
    #[inline]
    pub(super) fn ends(&mut self, close: u8) -> bool {
        let ends = self.token() == Some(close);
        self.at += usize::from(ends);
        ends
    }

    /// Behind a member: whether another follows.
    #[inline(always)]
    pub(super) fn goes_on(&mut self, close: u8) -> Parsed<bool> {
        let token = self.token();
        if token != Some(b',') && token != Some(close) {
            return Err("a comma or a closing bracket is expected");
        }
        self.at += 1;
        Ok(token == Some(b','))
    }

    /// The key of a member, and the colon.
    #[inline(always)]
    pub(super) fn key(&mut self, made: &mut String) -> Parsed<Piece> {
        if self.token() != Some(b'"') {
            return Err("a key in quotes is expected");
        }
        let key = self.string(made)?;
        if self.token() != Some(b':') {
            return Err("a colon is expected");
        }
        self.at += 1;
        Ok(key)
    }

    pub(super) fn word(&mut self) -> Parsed<Word> {
        let rest = &self.bytes[self.at..];
        let words = [("true", Word::True), ("false", Word::False), ("null", Word::Null)];
        let found = words.into_iter().find(|(word, _)| rest.starts_with(word.as_bytes()));
        let (word, value) = found.ok_or("a value is expected")?;
        self.at += word.len();
        Ok(value)
    }

    pub(super) fn number(&mut self) -> Parsed<Piece> {
        let start = self.at;
        let bytes = self.bytes;
        let mut at = start + usize::from(bytes[start] == b'-');
        let digits = |at: &mut usize| {
            let from = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - from
        };
        let leading_zero = bytes.get(at) == Some(&b'0');
        let whole = digits(&mut at);
        let mut valid = whole > 0 && !(leading_zero && whole > 1);
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            valid &= digits(&mut at) > 0;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            valid &= digits(&mut at) > 0;
        }
        if !valid {
            return Err("a number is malformed");
        }
        self.at = at;
        Ok(Piece::new(start, at))
    }

    #[inline(always)]
    pub(super) fn string(&mut self, made: &mut String) -> Parsed<Piece> {
        let start = self.at + 1;
        let rest = &self.bytes[start..];
        let end = plain(rest).ok_or("a string does not end")?;
        self.at = start + end;
        match rest[end] {
            b'"' => {
                self.at += 1;
                Ok(Piece::new(start, start + end))
            }
            b'\\' => self.escaped(start, made),
            _ => Err("a control character stands in a string"),
        }
    }

    /// A string with an escape at the present place.
    #[cold]
    fn escaped(&mut self, start: usize, made: &mut String) -> Parsed<Piece> {
        let begun = self.text.len() + made.len();
        made.push_str(&self.text[start..self.at]);
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Piece::new(begun, self.text.len() + made.len()));
                }
                Some(b'\\') => {
                    self.at += 1;
                    made.push(self.escape()?);
                }
                Some(0..=0x1f) => return Err("a control character stands in a string"),
                Some(_) => {
                    let end = self.at + plain(&self.bytes[self.at..]).ok_or("a string does not end")?;
                    made.push_str(&self.text[self.at..end]);
                    self.at = end;
                }
                None => return Err("a string does not end"),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let byte = *self.bytes.get(self.at).ok_or("a string does not end")?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => byte as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return Err("an escape is unknown"),
        })
    }

    /// A surrogate without its partner becomes U+FFFD, as Python and Go readers of the same logs have it.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if first < 0xdc00 && self.bytes[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Parsed<u32> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or("a string does not end")?;
        let mut code = 0;
        for &digit in digits {
            code = code * 16 + (digit as char).to_digit(16).ok_or("a \\u escape needs four hex digits")?;
        }
        self.at += 4;
        Ok(code)
    }
}

/// Length of the text before a quote, a backslash or a control character: sixteen bytes at a time, each compared with all
/// three at once.
#[inline(always)]
fn plain(bytes: &[u8]) -> Option<usize> {
    let (vectors, rest) = bytes.as_chunks::<16>();
    let (quote, backslash, last_control) = (u8x16::splat(b'"'), u8x16::splat(b'\\'), u8x16::splat(0x1f));
    for (at, vector) in vectors.iter().enumerate() {
        let vector = u8x16::new(*vector);
        let is_control = vector.max(last_control).simd_eq(last_control);
        let ends = vector.simd_eq(quote) | vector.simd_eq(backslash) | is_control;
        let found = ends.to_bitmask();
        if found != 0 {
            return Some(at * 16 + found.trailing_zeros() as usize);
        }
    }
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(vectors.len() * 16 + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_wherever_its_quote_stands() {
        for length in 0..40 {
            for (end, rest) in [("\"", "\"\\"), ("\\", "\u{1}"), ("\u{1f}", "\""), ("\0", "é")] {
                let text = format!("{}é {end}{rest}{}", "\u{7f}!#[]".repeat(length), "x".repeat(length));
                assert_eq!(plain(text.as_bytes()), Some(length * 5 + 3), "{text:?}");
            }
            assert_eq!(plain("é".repeat(length).as_bytes()), None);
        }
    }
}
