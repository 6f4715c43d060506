//! Regular expressions, of which guards know whether they match: the part of Python's language that has no memory and
//! does not look around, over texts in ASCII. There, greed and the order of alternatives change what a match is, never
//! whether there is one, and the engine here needs time in proportion to the text, whatever the pattern.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// Bytes that one compiled pattern may take.
const SIZE_LIMIT: usize = 1 << 20;
/// Groups inside groups.
const DEPTH: usize = 20;
/// What `$` stands for. Nothing else is written so.
const END: &str = r"(?:\n?\z)";

#[derive(Clone, Debug)]
pub(super) struct Pattern {
    search: Regex,
    start: Regex,
    whole: Regex,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) ignore_case: bool,
    /// A dot is a line's end too.
    pub(super) dot_all: bool,
}

impl Flags {
    pub(super) fn with(self, other: Flags) -> Flags {
        Flags { ignore_case: self.ignore_case || other.ignore_case, dot_all: self.dot_all || other.dot_all }
    }
}

/// Where the pattern has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    Whole,
}

impl Pattern {
    /// `None` for what is not understood.
    pub(super) fn new(text: &str, flags: Flags) -> Option<Pattern> {
        let (text, ignore_case) = match text.strip_prefix("(?i)") {
            Some(text) => (text, true),
            None => (text, flags.ignore_case),
        };
        let mut reader = Reader { rest: text.chars().peekable(), dot_all: flags.dot_all, depth: 0, names: Vec::new() };
        let read = if text.is_ascii() { reader.alternatives()?.text } else { return None };
        if reader.rest.next().is_some() {
            return None;
        }
        let built = |text: &str| {
            let text = format!("{}{text}", if ignore_case { "(?i)" } else { "" });
            regex::RegexBuilder::new(&text).size_limit(SIZE_LIMIT).build().ok()
        };
        Some(Pattern {
            search: built(&read)?,
            start: built(&format!(r"\A(?:{read})"))?,
            // A match that ends before the last line's end is not the whole text.
            whole: built(&format!(r"\A(?:{})\z", read.replace(END, r"\z")))?,
        })
    }

    /// Of a text in ASCII.
    pub(super) fn matches(&self, text: &str, place: Place) -> bool {
        match place {
            Place::Anywhere => self.search.is_match(text),
            Place::Start => self.start.is_match(text),
            Place::Whole => self.whole.is_match(text),
        }
    }
}

/// Reads Python's syntax, writes that of the engine.
struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    dot_all: bool,
    depth: usize,
    /// Of groups.
    names: Vec<String>,
}

/// A part of a pattern, in the engine's syntax.
#[derive(Default)]
struct Part {
    text: String,
    /// It ends the text. Python looks ahead for a last line's end, here that is part of the match: so nothing may follow.
    ends: bool,
    /// It can't be repeated.
    bare: bool,
}

impl Part {
    fn of(text: impl Into<String>) -> Part {
        Part { text: text.into(), ..Part::default() }
    }
}

impl Reader<'_> {
    fn alternatives(&mut self) -> Option<Part> {
        let mut all = self.sequence()?;
        while self.rest.next_if_eq(&'|').is_some() {
            let next = self.sequence()?;
            all.text = format!("{}|{}", all.text, next.text);
            all.ends |= next.ends;
        }
        Some(all)
    }

    fn sequence(&mut self) -> Option<Part> {
        let mut sequence = Part::default();
        while let Some(next) = self.rest.peek().copied().filter(|next| !matches!(next, '|' | ')')) {
            self.rest.next();
            let item = self.item(next)?;
            let item = self.repeated(item)?;
            if sequence.ends && !item.text.is_empty() {
                return None;
            }
            sequence.text += &item.text;
            sequence.ends |= item.ends;
        }
        Some(sequence)
    }

    fn item(&mut self, first: char) -> Option<Part> {
        Some(match first {
            '.' => Part::of(if self.dot_all { "(?s:.)" } else { r"[^\n]" }),
            '^' => Part { text: r"\A".into(), bare: true, ends: false },
            '$' => Part { text: END.into(), bare: true, ends: true },
            '[' => Part::of(self.class()?),
            '(' => self.group()?,
            '\\' => self.escape()?,
            '*' | '+' | '?' | '{' => return None,
            literal => Part::of(exactly(literal)),
        })
    }

    fn group(&mut self) -> Option<Part> {
        if self.depth == DEPTH {
            return None;
        }
        if self.rest.next_if_eq(&'?').is_some() {
            match self.rest.next()? {
                ':' => {}
                'P' if self.rest.next_if_eq(&'<').is_some() => {
                    let name: String = self.rest.by_ref().take_while(|next| *next != '>').collect();
                    // A name that is none, or is there twice, is an error in Python.
                    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                        && name.starts_with(|c: char| !c.is_ascii_digit());
                    if !is_name || self.names.contains(&name) {
                        return None;
                    }
                    self.names.push(name);
                }
                _ => return None,
            }
        }
        self.depth += 1;
        let inner = self.alternatives()?;
        self.depth -= 1;
        self.rest.next_if_eq(&')')?;
        Some(Part { text: format!("(?:{})", inner.text), ends: inner.ends, bare: false })
    }

    fn escape(&mut self) -> Option<Part> {
        Some(match self.rest.next()? {
            'A' => Part { text: r"\A".into(), bare: true, ends: false },
            'Z' => Part { text: r"\z".into(), bare: true, ends: true },
            'b' => Part { text: r"(?-u:\b)".into(), bare: true, ends: false },
            letter => match set(letter) {
                Some(set) => Part::of(format!("[{set}]")),
                None => Part::of(exactly(self.escaped(letter)?)),
            },
        })
    }

    /// The one character that an escape stands for, in a class or out of it.
    fn escaped(&mut self, letter: char) -> Option<char> {
        Some(match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'f' => '\x0c',
            'v' => '\x0b',
            'x' => {
                let digits = [self.rest.next()?, self.rest.next()?];
                let number = digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + digit.to_digit(16)?))?;
                char::from_u32(number).filter(char::is_ascii)?
            }
            mark if mark.is_ascii_punctuation() || mark == ' ' => mark,
            _ => return None,
        })
    }

    fn class(&mut self) -> Option<String> {
        let mut class = String::from(if self.rest.next_if_eq(&'^').is_some() { "[^" } else { "[" });
        let mut first = true;
        loop {
            let from = match self.rest.next()? {
                ']' if !first => break,
                '\\' => {
                    let letter = self.rest.next()?;
                    match set(letter) {
                        Some(set) => {
                            class += set;
                            first = false;
                            let mut ahead = self.rest.clone();
                            // A range that begins so is an error in Python.
                            if ahead.next() == Some('-') && ahead.next() != Some(']') {
                                return None;
                            }
                            continue;
                        }
                        None => self.escaped(letter)?,
                    }
                }
                other => other,
            };
            first = false;
            class += &exactly(from);
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']') {
                self.rest.next();
                let to = match self.rest.next()? {
                    '\\' => {
                        let letter = self.rest.next()?;
                        self.escaped(letter)?
                    }
                    other => other,
                };
                write!(class, "-{}", exactly(to)).expect("a String takes all text");
            }
        }
        Some(class + "]")
    }

    fn repeated(&mut self, item: Part) -> Option<Part> {
        let repeat = match self.rest.peek() {
            Some('*') => "*".to_owned(),
            Some('+') => "+".to_owned(),
            Some('?') => "?".to_owned(),
            Some('{') => {
                let mut ahead = self.rest.clone();
                ahead.next();
                let bounds = ahead.collect::<String>();
                let (bounds, _) = bounds.split_once('}')?;
                let (least, most) = bounds.split_once(',').unwrap_or((bounds, bounds));
                let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if !(number(least) || least.is_empty() && number(most)) || !(number(most) || most.is_empty()) {
                    return None;
                }
                let least = if least.is_empty() { "0" } else { least };
                let repeat = format!("{{{least},{most}}}");
                // The last of it is taken below, as that of every other repeat.
                self.rest.nth(bounds.len());
                repeat
            }
            _ => return Some(item),
        };
        if item.bare || item.ends {
            return None;
        }
        self.rest.next();
        match self.rest.peek() {
            // Whether as much or as little as can be is taken, is the same here.
            Some('?') => {
                self.rest.next();
            }
            // It gives nothing back, or it is an error.
            Some('+' | '*' | '{') => return None,
            _ => {}
        }
        Some(Part::of(format!("(?:{}){repeat}", item.text)))
    }
}

/// What a letter behind a backslash stands for, among characters in ASCII, inside of brackets.
fn set(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "0-9",
        'D' => r"\x00-\x2f\x3a-\x7f",
        'w' => "0-9A-Za-z_",
        'W' => r"\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f",
        's' => r"\x09-\x0d\x1c-\x20",
        'S' => r"\x00-\x08\x0e-\x1b\x21-\x7f",
        _ => return None,
    })
}

fn exactly(character: char) -> String {
    format!(r"\x{{{:x}}}", u32::from(character))
}
