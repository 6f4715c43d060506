//! The small language that rules are read into: what [`super::lower`] writes and [`super::eval`] runs.
//!
//! It has no side effects and no names: locals are slots, functions are numbers. What is not in it is
//! [`Expr::Unknown`] or [`Stmt::Unknown`], and running into one of these means that Python has to be asked.

use std::collections::HashMap;
use std::sync::Arc;

use super::address::{Made, Property};
use super::constant::Const;
use super::exception::Catches;
use super::places::Places;
use crate::detect::python::JsonPath;

pub(super) type Slot = usize;

/// Everything that the rules of a set may call.
#[derive(Default)]
pub(super) struct Program {
    pub(super) functions: Vec<Function>,
    /// Constant keys that are looked up in events, each once.
    pub(super) paths: Vec<Vec<Arc<str>>>,
    /// Where they are in an event; made when the program is whole.
    pub(super) places: Places,
    /// By log type. Absent when the log type has no data model.
    pub(super) models: HashMap<String, Model>,
    pub(super) unknown: Vec<Unknown>,
}

impl Program {
    /// Whether a path leads to the event's log type, which an index knows.
    pub(super) fn is_log_type(&self, path: usize) -> bool {
        matches!(&*self.paths[path], [key] if **key == *"p_log_type")
    }
}

/// A part that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub file: Arc<str>,
    pub line: usize,
    pub reason: String,
}

/// A data model; `None` when it could not be loaded as it is written.
pub(super) type Model = Option<HashMap<String, Udm>>;

pub(super) enum Udm {
    Path(JsonPath),
    /// `None` for a method that was not found.
    Method(Option<usize>),
}

#[derive(Default)]
pub(super) struct Function {
    pub(super) slots: usize,
    /// In order; these can be given by position or by name.
    pub(super) parameters: Vec<Parameter>,
    pub(super) rest: Option<Slot>,
    pub(super) keyword_only: Vec<Parameter>,
    pub(super) body: Vec<Stmt>,
    /// Functions and unknown parts that its text names, for explanations.
    pub(super) calls: Vec<usize>,
    pub(super) unknown: Vec<usize>,
}

pub(super) struct Parameter {
    pub(super) name: Arc<str>,
    pub(super) slot: Slot,
    pub(super) default: Option<Expr>,
    /// It cannot be given by name.
    pub(super) by_place: bool,
}

pub(super) enum Stmt {
    Assign(Target, Expr),
    Do(Expr),
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    For(Box<For>),
    Try(Box<Try>),
    /// A name of the module gets the value with which each run of the rule begins. Nobody sees the one before, so that a
    /// run that ends in no can be left out; the functions after the rule see what is in it, so that no other can.
    Reset,
    Return(Expr),
    Break,
    Continue,
    Pass,
    Unknown,
}

pub(super) struct Try {
    pub(super) body: Vec<Stmt>,
    pub(super) handlers: Vec<Handler>,
    pub(super) orelse: Vec<Stmt>,
    pub(super) last: Vec<Stmt>,
}

pub(super) struct Handler {
    pub(super) catches: Catches,
    /// Where the exception itself is, of which nothing is known.
    pub(super) name: Option<Slot>,
    pub(super) body: Vec<Stmt>,
}

pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) body: Vec<Stmt>,
    pub(super) orelse: Vec<Stmt>,
}

pub(super) enum Target {
    Slot(Slot),
    Several(Vec<Target>),
}

pub(super) enum Expr {
    Const(Arc<Const>),
    Slot(Slot),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// Test, then, else.
    If(Box<[Expr; 3]>),
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    Add(Box<[Expr; 2]>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Set(Vec<Expr>),
    /// Texts and values that `str` makes texts of.
    Format(Vec<Expr>),
    Subscript(Box<[Expr; 2]>),
    Slice(Box<(Expr, Option<Expr>, Option<Expr>)>),
    Comprehension(Box<Comprehension>),
    Named(Slot, Box<Expr>),
    Call(usize, Arguments),
    Method(Box<Expr>, Method, Arguments),
    Builtin(Builtin, Vec<Expr>),
    Address(Made, Box<Expr>),
    /// Of an address.
    Property(Box<Expr>, Property),
    /// Whether it has the method `get`.
    HasGet(Box<Expr>),
    IsInstance(Box<Expr>, Vec<Type>),
    /// `any` or `all` over a generator.
    Quantified(Quantifier, Box<Comprehension>),
    Reduce(Box<Reduce>),
    Unknown,
}

#[derive(Default)]
pub(super) struct Arguments {
    /// With whether the argument is unpacked (`*x`).
    pub(super) plain: Vec<(Expr, bool)>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    /// When all plain arguments are constant keys: their place in [`Program::paths`].
    pub(super) path: Option<usize>,
}

pub(super) struct Comprehension {
    pub(super) element: Expr,
    /// Target, iterable, conditions.
    pub(super) clauses: Vec<(Target, Expr, Vec<Expr>)>,
}

/// `functools.reduce` with a lambda of two parameters.
pub(super) struct Reduce {
    pub(super) slots: [Slot; 2],
    pub(super) body: Expr,
    pub(super) over: Expr,
    pub(super) initial: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Is,
    IsNot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    All,
    Any,
    Bool,
    Int,
    Len,
    List,
    Set,
    Str,
    Tuple,
    Fnmatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Dict,
    Float,
    Int,
    List,
    Mapping,
    /// A mock stands in for a name of a module in tests, never for a value here.
    Mock,
    Sequence,
    Set,
    Str,
    Tuple,
}

macro_rules! methods {
    ($($variant:ident $name:literal)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Method {
            $($variant),+
        }

        impl Method {
            pub(super) fn named(name: &str) -> Option<Method> {
                match name {
                    $($name => Some(Method::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

methods! {
    DeepGet "deep_get"
    DeepWalk "deep_walk"
    EndsWith "endswith"
    FullMatch "fullmatch"
    Get "get"
    IsDigit "isdigit"
    Item "__getitem__"
    Items "items"
    Join "join"
    Keys "keys"
    Lower "lower"
    LeftStrip "lstrip"
    Match "match"
    Replace "replace"
    RightStrip "rstrip"
    Search "search"
    Split "split"
    StartsWith "startswith"
    Strip "strip"
    Udm "udm"
    Upper "upper"
    Values "values"
}
