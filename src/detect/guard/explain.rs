//! What there is to say about a rule's guard to somebody who wonders why it is slow, or why Python was not called.

use std::fmt;

use super::Guards;
use super::explore::{Fancy, explore};
use super::index::{self, Found, Key};
use super::program::Unknown;
use crate::detect::protocol::Place;

/// Texts of a field that are written out.
const TEXTS_SHOWN: usize = 12;

#[derive(Debug, Default)]
pub struct Explanation {
    /// There is an event that is turned away without Python.
    pub guarded: bool,
    /// By log type: what an event must have to be looked at; several when each of them would do.
    pub fields: Vec<(String, Vec<Needed>)>,
    /// What was not understood, in this rule and the functions it calls.
    pub unknown: Vec<Unknown>,
    /// Why the rule has no guard whatever it says.
    pub refused: Option<String>,
}

/// A field, and the values with which a rule is looked at.
#[derive(Debug)]
pub struct Needed {
    pub field: String,
    pub texts: Vec<String>,
    /// Texts that the value may begin with.
    pub prefixes: Vec<String>,
    pub or_missing: bool,
    /// Fields that lead to the rule by being there, or when they are no texts.
    pub or_there: Vec<String>,
    pub or_no_text: Vec<String>,
}

/// How much of a rule is decided without Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// Nothing.
    None,
    /// Some events are turned away; of others Python has to find out.
    Partial,
    /// Python is called for matches, and where the rule would raise.
    Total,
}

impl Quality {
    pub fn as_str(self) -> &'static str {
        match self {
            Quality::None => "none",
            Quality::Partial => "partial",
            Quality::Total => "total",
        }
    }
}

impl Explanation {
    pub fn quality(&self) -> Quality {
        match (self.guarded && self.refused.is_none(), self.unknown.is_empty()) {
            (false, _) => Quality::None,
            (true, false) => Quality::Partial,
            (true, true) => Quality::Total,
        }
    }

    /// Values of fields lead to the rule: events with others cost it nothing.
    pub fn is_indexed(&self) -> bool {
        self.guarded && !self.fields.is_empty() && self.fields.iter().all(|(_, needed)| !needed.is_empty())
    }
}

impl Guards {
    pub fn explain(&self, rule: u32, log_types: &[String]) -> Explanation {
        let mut explanation = Explanation { refused: self.refused.clone(), ..Explanation::default() };
        let own = self.reflections.iter().find(|(place, _)| *place == Place::Rule(rule));
        if let (None, Some((_, found))) = (&self.refused, own) {
            explanation.refused = Some(format!("line {}: {}", found.line, found.what));
        }
        let Some(function) = self.rules[rule as usize] else { return explanation };
        for log_type in log_types {
            let rejects = |fancy| explore(&self.program, function, log_type, None, fancy).no;
            explanation.guarded |= rejects(Fancy::Any) || rejects(Fancy::Texts);
            let keys = index::keys(&self.program, function, log_type).into_iter();
            let needed: Vec<Needed> = keys.map(|key| self.needed(key)).collect();
            explanation.guarded |= !needed.is_empty();
            explanation.fields.push((log_type.clone(), needed));
        }
        let mut reached = vec![function];
        let mut at = 0;
        while let Some(next) = reached.get(at) {
            let function = &self.program.functions[*next];
            for called in &function.calls {
                if !reached.contains(called) {
                    reached.push(*called);
                }
            }
            at += 1;
        }
        let unknown = reached.iter().flat_map(|function| &self.program.functions[*function].unknown);
        explanation.unknown = unknown.map(|at| self.program.unknown[*at].clone()).collect();
        explanation.unknown.dedup();
        explanation
    }
}

impl Guards {
    fn needed(&self, key: Key) -> Needed {
        let named = |path: &usize| self.program.paths[*path].join(".");
        let (mut texts, prefixes, or_missing) = match key.found {
            Found::Present => (Vec::new(), Vec::new(), false),
            Found::Text { texts, prefixes, missing } => (texts, prefixes, missing),
        };
        texts.retain(|text| !text.is_empty());
        Needed {
            field: named(&key.path),
            texts,
            prefixes,
            or_missing,
            or_there: key.usual.missing.iter().map(named).collect(),
            or_no_text: key.usual.texts.iter().map(named).collect(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.refused {
            return writeln!(f, "no guard: code can change what names mean, past the names ({reason})");
        }
        if !self.guarded {
            writeln!(f, "no guard: every event of its log types is for Python to decide")?;
        }
        for (log_type, needed) in self.fields.iter().filter(|_| self.guarded) {
            write!(f, "{log_type}: ")?;
            if needed.is_empty() {
                writeln!(f, "the guard runs on every event")?;
                continue;
            }
            writeln!(f, "the guard runs only on events with")?;
            for (at, field) in needed.iter().enumerate() {
                writeln!(f, "{}{field}", if at == 0 { "    " } else { " or " })?;
            }
        }
        match self.unknown.is_empty() {
            true if self.guarded => writeln!(f, "Python is called for matches, and where the rule would raise"),
            true => Ok(()),
            false => {
                writeln!(f, "Python decides where the rule gets to")?;
                self.unknown.iter().try_for_each(|part| writeln!(f, "    {}:{}: {}", part.file, part.line, part.reason))
            }
        }
    }
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.field)?;
        match &*self.texts {
            [] if self.prefixes.is_empty() => write!(f, " (any value)")?,
            [] => {}
            [one] => write!(f, " = {one}")?,
            several => write!(f, " in {}", several[..several.len().min(TEXTS_SHOWN)].join(", "))?,
        }
        if self.texts.len() > TEXTS_SHOWN {
            write!(f, " and {} more", self.texts.len() - TEXTS_SHOWN)?;
        }
        match &*self.prefixes {
            [] => {}
            prefixes => {
                let or = if self.texts.is_empty() { "" } else { " or" };
                write!(f, "{or} beginning with {}", prefixes[..prefixes.len().min(TEXTS_SHOWN)].join(", "))?;
            }
        }
        if self.or_missing {
            write!(f, ", or without it")?;
        }
        self.or_there.iter().try_for_each(|field| write!(f, ", or with {field}"))?;
        self.or_no_text.iter().try_for_each(|field| write!(f, ", or whose {field} is no text"))
    }
}
