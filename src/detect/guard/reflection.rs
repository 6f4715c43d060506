//! What a module can do that no look at its names finds: reach objects by names that are computed, through the
//! interpreter, or through its own namespace.
//!
//! Lists of what is known to be harmless; everything else counts as reflection.

/// How far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What the names of its own module stand for.
    Own,
    /// Any module, so that nothing is certain about any rule.
    Everything,
}

/// The first place in a module that reflects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflection {
    pub line: usize,
    pub what: String,
    pub reach: Reach,
}

/// Modules outside of the rule set whose functions change nothing but what they are given. With all that is below them.
const HARMLESS_MODULES: &[&str] = &[
    "__future__",
    "abc",
    "ast",
    "base64",
    "binascii",
    "bisect",
    "boto3",
    "botocore",
    "calendar",
    "cmath",
    "collections",
    "colorsys",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "dateutil",
    "decimal",
    "difflib",
    "enum",
    "errno",
    "fnmatch",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "http",
    "importlib",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "jsonpath_ng",
    "keyword",
    "logging",
    "math",
    "numbers",
    "operator",
    "os",
    "panther_core",
    "panther_detection_helpers",
    "panther_oss_helpers",
    "policyuniverse",
    "posixpath",
    "pprint",
    "pycountry",
    "quopri",
    "random",
    "re",
    "requests",
    "secrets",
    "shlex",
    "statistics",
    "string",
    "struct",
    "sys",
    "textwrap",
    "time",
    "traceback",
    "types",
    "typing",
    "typing_extensions",
    "unicodedata",
    "unittest.mock",
    "urllib",
    "uuid",
    "warnings",
    "zlib",
    "zoneinfo",
];

/// Below harmless ones, and not harmless.
const OTHER_MODULES: &[&str] = &["importlib.", "logging.config", "logging.handlers"];

/// Of these, only what is listed is harmless, and so is nothing that holds the module itself.
const PARTS: &[(&str, &[&str])] = &[
    // Only its calls with a text are understood, and these before anything is looked up here.
    ("importlib", &[]),
    (
        "sys",
        &[
            "byteorder",
            "exc_info",
            "float_info",
            "getsizeof",
            "maxsize",
            "platform",
            "stderr",
            "stdout",
            "version",
            "version_info",
        ],
    ),
    ("unittest.mock", &["ANY", "MagicMock", "Mock"]),
];

/// Builtin functions that reach objects by computed names. A call is understood in some forms, any other mention not.
const REFLECTING_BUILTINS: &[&str] = &[
    "__builtins__",
    "__import__",
    "__loader__",
    "__spec__",
    "delattr",
    "getattr",
    "globals",
    "locals",
    "setattr",
    "vars",
];

const REFLECTING_ATTRIBUTES: &[&str] = &[
    "_getframe",
    "_getframemodulename",
    "ag_frame",
    "attrgetter",
    "cr_frame",
    "f_back",
    "f_builtins",
    "f_globals",
    "f_locals",
    "gi_frame",
    "methodcaller",
    "resolve_name",
    "tb_frame",
];

/// Names with two underscores that lead to no namespace and no code.
const HARMLESS_SPECIAL: &[&str] = &[
    "__bool__",
    "__class__",
    "__contains__",
    "__doc__",
    "__enter__",
    "__eq__",
    "__exit__",
    "__file__",
    "__getitem__",
    "__hash__",
    "__init__",
    "__iter__",
    "__len__",
    "__name__",
    "__new__",
    "__next__",
    "__post_init__",
    "__qualname__",
    "__repr__",
    "__str__",
    "__traceback__",
    "__version__",
];

/// Parts of texts by which formats and the like reach what the code doesn't name.
const REFLECTING_TEXTS: &[&str] = &[
    "__builtins__",
    "__code__",
    "__defaults__",
    "__delattr__",
    "__dict__",
    "__getattribute__",
    "__globals__",
    "__import__",
    "__kwdefaults__",
    "__setattr__",
    "__subclasses__",
];

/// Methods of classes that are handed nothing that stands beside their object in an expression.
const OWN_SPECIAL: &[&str] = &[
    "__bool__",
    "__call__",
    "__enter__",
    "__exit__",
    "__hash__",
    "__init__",
    "__iter__",
    "__len__",
    "__next__",
    "__post_init__",
    "__repr__",
    "__str__",
];

fn is_special(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__")
}

/// Whether a module outside of the rule set may be imported without another thought.
pub(super) fn is_harmless_module(name: &str) -> bool {
    let below = |of: &str| name.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    HARMLESS_MODULES.iter().any(|of| below(of)) && !OTHER_MODULES.iter().any(|other| name.starts_with(other))
}

/// Whether a part of a module may be used: of most modules any may.
pub(super) fn is_harmless_part(module: &str, name: &str) -> bool {
    PARTS.iter().find(|(of, _)| *of == module).is_none_or(|(_, parts)| parts.contains(&name))
}

/// Whether the module itself is nothing to hand around.
pub(super) fn has_parts_only(module: &str) -> bool {
    PARTS.iter().any(|(of, _)| *of == module)
}

pub(super) fn is_reflecting_builtin(name: &str) -> bool {
    REFLECTING_BUILTINS.contains(&name)
}

pub(super) fn is_reflecting_attribute(name: &str) -> bool {
    REFLECTING_ATTRIBUTES.contains(&name)
        || REFLECTING_BUILTINS.contains(&name)
        || (is_special(name) && !HARMLESS_SPECIAL.contains(&name))
}

pub(super) fn is_reflecting_text(text: &str) -> bool {
    text.contains("__") && REFLECTING_TEXTS.iter().any(|part| text.contains(part))
}

/// Whether a class with such a method gets to see what its objects are compared with, added to, looked for in.
pub(super) fn takes_operands(method: &str) -> bool {
    is_special(method) && !OWN_SPECIAL.contains(&method)
}
