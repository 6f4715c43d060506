//! Exceptions that a rule may catch, as far as guards can tell for certain that they are raised.

/// By the names of Python's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exception {
    /// `BaseException`, above all others.
    Base,
    /// `Exception`, above all that are errors.
    Any,
    AttributeError,
    LookupError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    /// Of `ipaddress`.
    AddressValueError,
}

/// What an `except` waits for.
pub(super) enum Catches {
    All,
    These(Vec<Exception>),
    /// Whether it catches something is not known.
    Unknown,
}

impl Exception {
    pub(super) fn builtin(name: &str) -> Option<Exception> {
        Some(match name {
            "BaseException" => Exception::Base,
            "Exception" => Exception::Any,
            "AttributeError" => Exception::AttributeError,
            "LookupError" => Exception::LookupError,
            "IndexError" => Exception::IndexError,
            "KeyError" => Exception::KeyError,
            "TypeError" => Exception::TypeError,
            "ValueError" => Exception::ValueError,
            _ => return None,
        })
    }

    fn parent(self) -> Option<Exception> {
        Some(match self {
            Exception::Base => return None,
            Exception::Any => Exception::Base,
            Exception::IndexError | Exception::KeyError => Exception::LookupError,
            Exception::AddressValueError => Exception::ValueError,
            Exception::AttributeError | Exception::LookupError | Exception::TypeError | Exception::ValueError => {
                Exception::Any
            }
        })
    }

    fn is_a(self, class: Exception) -> bool {
        self == class || self.parent().is_some_and(|parent| parent.is_a(class))
    }
}

impl Catches {
    /// `None` when nobody knows.
    pub(super) fn catch(&self, raised: Exception) -> Option<bool> {
        match self {
            Catches::All => Some(true),
            Catches::These(classes) => Some(classes.iter().any(|class| raised.is_a(*class))),
            Catches::Unknown => None,
        }
    }
}
