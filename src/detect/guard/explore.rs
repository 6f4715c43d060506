//! What a rule can say about events of which only one field is known: the ground for the index.
//!
//! A run over an imagined event takes one way through the rule wherever something unknown decides; all ways are tried one
//! after the other. If every one of them ends in a plain no, then so does the rule on each event of that kind.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};

use super::eval::{Verdict, verdict};
use super::fields::{Fields, Found};
use super::program::Program;
use super::value::{Ask, Notes, Result, V};
use crate::lookup::ENRICHMENT;
use crate::model::Map;

/// Ways through one rule. A rule with more is not indexed.
const WAYS: usize = 512;

/// What is known of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// A text that equals no text the rule compares it with, and begins with none.
    Other,
    /// The field, or one above it, is not there.
    Missing,
    /// It is there and null.
    Null,
}

/// What is not known otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fancy {
    /// Anything.
    Any,
    /// Anything, but no table knows about the event.
    Unenriched,
    /// Nor that, and fields are texts, or missing: what an event of some use looks like to a rule.
    Texts,
}

impl Fancy {
    /// Whether the field is missing in such an event.
    pub(super) fn is_missing(self, program: &Program, path: usize) -> bool {
        self != Fancy::Any && program.paths[path].first().is_some_and(|key| **key == *ENRICHMENT)
    }
}

/// What came out of all ways.
#[derive(Debug, Default)]
pub(super) struct Explored {
    pub(super) no: bool,
    pub(super) yes: bool,
    pub(super) ask: bool,
    /// Texts that the known field was compared with, in lower case.
    pub(super) texts: BTreeSet<String>,
    /// And those that it might have begun with.
    pub(super) prefixes: BTreeSet<String>,
    /// Paths that were read.
    pub(super) paths: BTreeSet<usize>,
}

impl Explored {
    pub(super) fn only_no(&self) -> bool {
        self.no && !self.yes && !self.ask
    }
}

/// Tries all ways; `field` is what is known, or nothing is. With a field, it ends as soon as no is not the only answer.
pub(super) fn explore(
    program: &Program,
    rule: usize,
    log_type: &str,
    field: Option<(usize, Probe)>,
    fancy: Fancy,
) -> Explored {
    let until_possible = field.is_some();
    let event = Imagined {
        log_type,
        field,
        fancy,
        ways: RefCell::new(Vec::new()),
        at: Cell::new(0),
        decided: RefCell::default(),
        texts: RefCell::default(),
        prefixes: RefCell::default(),
        paths: RefCell::default(),
    };
    let mut explored = Explored::default();
    for _ in 0..WAYS {
        event.at.set(0);
        event.decided.borrow_mut().clear();
        match verdict(program, rule, &event) {
            Verdict::No => explored.no = true,
            Verdict::Yes => explored.yes = true,
            Verdict::Ask => explored.ask = true,
        }
        if !event.next_way() || (until_possible && !explored.only_no()) {
            return event.into(explored);
        }
    }
    explored.ask = true;
    event.into(explored)
}

struct Imagined<'e> {
    log_type: &'e str,
    field: Option<(usize, Probe)>,
    fancy: Fancy,
    /// What was decided on this way, in order; the next way changes the last decision that was not changed yet.
    ways: RefCell<Vec<bool>>,
    at: Cell<usize>,
    /// Fields that are missing on this way, or texts.
    decided: RefCell<HashMap<usize, bool>>,
    texts: RefCell<HashSet<String>>,
    prefixes: RefCell<HashSet<String>>,
    paths: RefCell<BTreeSet<usize>>,
}

impl Imagined<'_> {
    fn into(self, explored: Explored) -> Explored {
        Explored {
            texts: self.texts.into_inner().into_iter().collect(),
            prefixes: self.prefixes.into_inner().into_iter().collect(),
            paths: self.paths.into_inner(),
            ..explored
        }
    }

    fn next_way(&self) -> bool {
        let mut ways = self.ways.borrow_mut();
        ways.truncate(self.at.get());
        while ways.last() == Some(&false) {
            ways.pop();
        }
        match ways.last_mut() {
            Some(last) => {
                *last = false;
                true
            }
            None => false,
        }
    }
}

impl Notes for Imagined<'_> {
    fn note(&self, text: &str) {
        self.texts.borrow_mut().insert(text.to_ascii_lowercase());
    }

    fn note_prefix(&self, text: &str) {
        self.prefixes.borrow_mut().insert(text.to_ascii_lowercase());
    }
}

impl<'e> Fields<'e> for Imagined<'e> {
    fn path(&self, program: &Program, path: usize) -> Found<'e> {
        self.paths.borrow_mut().insert(path);
        match self.field {
            Some((known, probe)) if known == path => match probe {
                Probe::Other => Found::Value(V::Other),
                Probe::Missing => Found::Missing,
                Probe::Null => Found::Value(V::None),
            },
            _ if program.is_log_type(path) => Found::Value(V::Str(self.log_type)),
            _ if self.fancy.is_missing(program, path) => Found::Missing,
            _ if self.fancy != Fancy::Texts => Found::Either,
            _ => {
                let known = self.decided.borrow().get(&path).copied();
                // A way with too many decisions is one of too many ways.
                let missing = known.unwrap_or_else(|| self.choose().unwrap_or(true));
                self.decided.borrow_mut().insert(path, missing);
                if missing { Found::Missing } else { Found::Value(V::AnyText) }
            }
        }
    }

    fn map(&self) -> Option<&'e Map> {
        None
    }

    fn log_type(&self) -> Option<&'e str> {
        Some(self.log_type)
    }

    fn crosses_exactly(&self) -> bool {
        true
    }

    fn choose(&self) -> Result<bool> {
        let (mut ways, at) = (self.ways.borrow_mut(), self.at.get());
        if at == WAYS {
            return Err(Ask);
        }
        if at == ways.len() {
            ways.push(true);
        }
        self.at.set(at + 1);
        Ok(ways[at])
    }
}
