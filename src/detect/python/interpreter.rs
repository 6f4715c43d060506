//! Builds the one interpreter of a worker process: the standard library without anything that reaches outside, our own
//! modules in place of the rest, and standard output as a bounded buffer.
//!
//! The rules of what can be imported and called are in `shims/sandbox.py`. No rule is loaded here.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use rustpython_vm::builtins::{PyBaseExceptionRef, PyDict, PyDictRef, PyModule};
use rustpython_vm::class::PyClassImpl;
use rustpython_vm::common::rc::PyRc;
use rustpython_vm::{
    AsObject, Interpreter, PyObject, PyObjectRef, PyPayload, PyRef, PyResult, Settings, VirtualMachine,
};

use super::event;
use super::key_value::{self, Ask};
use super::output::{Captured, RuleOutput};
use super::seal::Seal;
use super::watch::Watch;

/// Native modules that the frozen library needs and rules may use. Everything else that is compiled in is left out.
const NATIVE_MODULES: &[&str] = &[
    "_bisect",
    "_blake2",
    "_contextvars",
    "_csv",
    "_datetime",
    "_elementtree",
    "_hashlib",
    "_heapq",
    "_json",
    "_md5",
    "_opcode",
    "_pickle",
    "_queue",
    "_random",
    "_sha1",
    "_sha2",
    "_sha256",
    "_sha3",
    "_sha512",
    "_statistics",
    "_struct",
    "_suggestions",
    "_tokenize",
    "_zoneinfo",
    "array",
    "binascii",
    "cmath",
    "math",
    "pyexpat",
    "unicodedata",
    "zlib",
];

/// Modules that are always compiled in and that rules have no use for.
const REMOVED_MODULES: &[&str] =
    &["_interpchannels", "_interpqueues", "_interpreters", "_testinternalcapi", "_remote_debugging", "gc"];

/// Own modules: name, whether it is a package, source.
const SHIMS: &[(&str, bool, &str)] = &[
    ("_signal", false, include_str!("shims/_signal.py")),
    ("asyncio", false, include_str!("shims/asyncio.py")),
    ("boto3", true, include_str!("shims/network_client.py")),
    ("botocore", true, include_str!("shims/network_client.py")),
    ("botocore.client", false, include_str!("shims/network_client.py")),
    ("botocore.config", false, include_str!("shims/network_client.py")),
    ("botocore.exceptions", false, include_str!("shims/network_client.py")),
    ("dateutil", true, include_str!("shims/dateutil.py")),
    ("dateutil.parser", false, include_str!("shims/dateutil_parser.py")),
    ("os", false, include_str!("shims/os.py")),
    ("panther_core", true, include_str!("shims/panther_core.py")),
    ("panther_core.enriched_event", false, include_str!("shims/panther_core_enriched_event.py")),
    ("panther_core.exceptions", false, include_str!("shims/panther_core_exceptions.py")),
    ("panther_core.immutable", false, include_str!("shims/panther_core_immutable.py")),
    ("panther_detection_helpers", true, include_str!("shims/panther_detection_helpers.py")),
    ("panther_detection_helpers.caching", false, include_str!("shims/caching.py")),
    ("panther_oss_helpers", false, include_str!("shims/panther_oss_helpers.py")),
    ("policyuniverse", true, include_str!("shims/policyuniverse.py")),
    ("policyuniverse.action_categories", false, include_str!("shims/policyuniverse_action_categories.py")),
    ("policyuniverse.actions", false, include_str!("shims/policyuniverse_actions.py")),
    ("policyuniverse.expander_minimizer", false, include_str!("shims/policyuniverse_expander_minimizer.py")),
    ("policyuniverse.policy", false, include_str!("shims/policyuniverse_policy.py")),
    ("policyuniverse.statement", false, include_str!("shims/policyuniverse_statement.py")),
    ("posix", false, include_str!("shims/posix.py")),
    ("pycountry", false, include_str!("shims/pycountry.py")),
    ("requests", true, include_str!("shims/network_client.py")),
    ("requests.exceptions", false, include_str!("shims/network_client.py")),
    ("tempfile", false, include_str!("shims/tempfile.py")),
];

/// Sets are iterated in the order of their hashes, and rules build dedup strings from sets: with one seed for all, two
/// workers say the same about the same event.
const HASH_SEED: u32 = 0;

/// An interpreter that is ready to load rules.
pub(super) struct Python {
    pub(super) interpreter: Interpreter,
    /// `shims/sandbox.py`.
    pub(super) sandbox: PyObjectRef,
    pub(super) output: Arc<Captured>,
    pub(super) seal: RefCell<Seal>,
    /// The rule set's own modules by name.
    helpers: PyDictRef,
}

/// The interpreter did not start; a defect of this binary, never of a rule.
#[derive(Debug, thiserror::Error)]
#[error("could not start the Python interpreter: {0}")]
pub(super) struct StartError(String);

/// Whether rules may come by a module of this name, as far as the standard library and own modules go.
pub(in crate::detect) fn may_have_module(name: &str) -> bool {
    /// Compiled in, besides those that begin with an underscore.
    const ALWAYS: &[&str] = &["atexit", "builtins", "errno", "gc", "itertools", "marshal", "sys", "time"];
    static FROZEN: LazyLock<HashSet<&str>> =
        LazyLock::new(|| rustpython_pylib::FROZEN_STDLIB.into_iter().map(|(name, _)| name).collect());
    let shim = SHIMS.iter().any(|(shim, ..)| *shim == name);
    shim || name.starts_with('_') || ALWAYS.contains(&name) || NATIVE_MODULES.contains(&name) || FROZEN.contains(name)
}

impl Python {
    /// To be called on the thread that will run it: the interpreter measures that thread's stack.
    pub(super) fn start(asks: Arc<dyn Ask>, watch: Arc<Watch>) -> Result<Python, StartError> {
        let builder = Interpreter::builder(settings());
        let defs: Vec<_> = rustpython_stdlib::stdlib_module_defs(&builder.ctx)
            .into_iter()
            .filter(|def| NATIVE_MODULES.contains(&def.name.as_str()))
            .collect();
        let interpreter = builder
            .add_native_modules(&defs)
            .add_frozen_modules(rustpython_pylib::FROZEN_STDLIB)
            .init_hook(|vm| {
                let state = PyRc::get_mut(&mut vm.state).expect("nothing shares the state before the start");
                state.module_defs.retain(|name, _| !REMOVED_MODULES.contains(name));
            })
            .build();
        let output = Arc::new(Captured::default());
        let (sandbox, helpers, seal) = interpreter
            .enter(|vm| {
                let key_value = key_value::function(asks, watch, vm);
                let sandbox = bootstrap(&output, key_value, vm)?;
                let helpers = dict_of(&sandbox, "helpers", vm)?;
                Ok((sandbox.clone(), helpers, sealed(&sandbox, vm)?))
            })
            .map_err(|error: PyBaseExceptionRef| StartError(interpreter.enter(|vm| describe(&error, vm))))?;
        let python = Python { interpreter, sandbox, output, seal: RefCell::new(seal), helpers };
        python.take_in();
        Ok(python)
    }

    /// What was imported since belongs to all rules from now on.
    pub(super) fn take_in(&self) {
        self.seal.borrow_mut().extend(&self.helpers);
    }

    /// Whether a rule has changed what belongs to all, and what.
    pub(super) fn tampering(&self) -> Option<String> {
        let changed = self.seal.borrow_mut().changed();
        self.take_in();
        changed
    }

    /// The same, and it is put back.
    pub(super) fn undo_tampering(&self, vm: &VirtualMachine) -> PyResult<Option<String>> {
        let changed = self.seal.borrow_mut().restore(vm);
        self.take_in();
        changed
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.isolated = true;
    settings.ignore_environment = true;
    settings.import_site = false;
    settings.user_site_directory = false;
    settings.install_signal_handlers = false;
    settings.write_bytecode = false;
    settings.allow_external_library = false;
    settings.safe_path = true;
    settings.hash_seed = Some(HASH_SEED);
    // Warnings would land in the output of whichever rule comes first.
    settings.warnoptions = vec!["ignore".to_owned()];
    settings
}

fn bootstrap(output: &Arc<Captured>, key_value: PyObjectRef, vm: &VirtualMachine) -> PyResult {
    let modules = vm.sys_module.get_attr("modules", vm)?;
    let native = native_module(vm)?;
    native.set_attr("key_value", key_value, vm)?;
    modules.set_item("_margay", native.into(), vm)?;

    let _ = RuleOutput::make_static_type();
    let stream = RuleOutput::new(output.clone()).into_pyobject(vm);
    for name in ["stdout", "stderr", "__stdout__", "__stderr__"] {
        vm.sys_module.set_attr(name, stream.clone(), vm)?;
    }

    let shims = vm.ctx.new_dict();
    for (name, package, source) in SHIMS {
        let entry = vec![vm.ctx.new_str(*source).into(), vm.ctx.new_bool(*package).into()];
        shims.set_item(*name, vm.ctx.new_tuple(entry).into(), vm)?;
    }
    let globals = vm.ctx.new_dict();
    globals.set_item("SHIMS", shims.into(), vm)?;
    let sandbox = vm.new_module("margay_sandbox", globals.clone(), None);
    let source = include_str!("shims/sandbox.py");
    let code = vm
        .compile(source, rustpython_vm::compiler::Mode::Exec, "<margay sandbox>")
        .map_err(|error| error.into_pyexception(vm, Some(source)))?;
    let scope = rustpython_vm::scope::Scope::with_builtins(None, globals, vm);
    vm.run_code_obj(code, scope)?;
    register_as_abstract(vm)?;
    Ok(sandbox.into())
}

fn sealed(sandbox: &PyObject, vm: &VirtualMachine) -> PyResult<Seal> {
    let modules = vm.sys_module.get_attr("modules", vm)?.downcast::<PyDict>();
    let modules = modules.map_err(|_| vm.new_type_error("sys.modules is a dict"))?;
    let builtins = vec![
        ("builtins", vm.builtins.dict()),
        ("builtins", dict_of(sandbox, "rule_builtins", vm)?),
        ("builtins", dict_of(&*sandbox.get_attr("restricted_builtins", vm)?, "__dict__", vm)?),
    ];
    Ok(Seal::new(modules, builtins))
}

fn dict_of(object: &PyObject, name: &'static str, vm: &VirtualMachine) -> PyResult<PyDictRef> {
    let dict = object.get_attr(name, vm)?.downcast::<PyDict>();
    dict.map_err(|_| vm.new_type_error(format!("{name} is a dict")))
}

/// What the Python side of this folder imports from here.
fn native_module(vm: &VirtualMachine) -> PyResult<PyRef<PyModule>> {
    let module = vm.new_module("_margay", vm.ctx.new_dict(), None);
    for (name, class) in event::classes() {
        module.set_attr(name, class, vm)?;
    }
    module.set_attr("random_bytes", vm.new_function("random_bytes", random_bytes), vm)?;
    Ok(module)
}

/// Makes the event classes instances of `Mapping` and `Sequence` to `isinstance` and to `match`.
fn register_as_abstract(vm: &VirtualMachine) -> PyResult<()> {
    let abstract_classes = vm.import("_collections_abc", 0)?;
    let [(_, dict), (_, list), _] = event::classes();
    for (name, class) in [("Mapping", dict), ("Sequence", list)] {
        vm.call_method(abstract_classes.get_attr(name, vm)?.as_object(), "register", (class,))?;
    }
    Ok(())
}

/// `os.urandom`.
fn random_bytes(count: usize, vm: &VirtualMachine) -> PyResult {
    const LIMIT: usize = 1024 * 1024;
    if count > LIMIT {
        return Err(vm.new_value_error(format!("at most {LIMIT} random bytes at a time")));
    }
    let mut bytes = vec![0; count];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(vm.ctx.new_bytes(bytes).into()),
        Err(error) => Err(vm.new_runtime_error(format!("could not read random bytes: {error}"))),
    }
}

fn describe(error: &PyBaseExceptionRef, vm: &VirtualMachine) -> String {
    let mut text = String::new();
    match vm.write_exception(&mut text, error) {
        Ok(()) => text,
        Err(_) => error.class().name().to_string(),
    }
}

/// For the tests of this folder: runs Python in a fresh interpreter as trusted code. An assertion that fails there fails
/// the test. `prepare` gives names to objects.
#[cfg(test)]
pub(super) fn run_python(source: &str, prepare: impl FnOnce(&VirtualMachine) -> Vec<(&'static str, PyObjectRef)>) {
    let nobody = key_value::doubles::Nobody;
    let python = Python::start(Arc::new(nobody), Arc::new(Watch::default())).unwrap();
    python.interpreter.enter(|vm| {
        let scope = vm.new_scope_with_builtins();
        scope.globals.set_item("sandbox", python.sandbox.clone(), vm).unwrap();
        for (name, object) in prepare(vm) {
            scope.globals.set_item(name, object, vm).unwrap();
        }
        let code = vm.compile(source, rustpython_vm::compiler::Mode::Exec, "<test>");
        let code = code.unwrap_or_else(|error| panic!("{error}"));
        if let Err(error) = vm.run_code_obj(code, scope) {
            panic!("{}", describe(&error, vm));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: &str) {
        run_python(source, |_| Vec::new());
    }

    #[test]
    fn the_standard_library_that_rules_use_works() {
        run(r#"
import json, re, ipaddress, datetime, fnmatch, typing, collections, collections.abc, base64, urllib.parse, uuid
import difflib, shlex, functools, itertools, math, binascii, hashlib, time, logging, os, string, secrets, io
import contextlib, copy, random, dataclasses, enum, statistics, decimal, fractions, textwrap, html, traceback
import os.path, inspect, operator, calendar, zoneinfo, csv, ast, hmac, types, abc, threading, warnings, pprint
from unittest.mock import MagicMock, patch

assert json.loads('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
assert re.fullmatch(r"(\d+)-\w", "12-x").group(1) == "12"
assert ipaddress.ip_address("10.0.0.1").is_private
assert datetime.datetime.strptime("2024-01-02T03:04:05", "%Y-%m-%dT%H:%M:%S").year == 2024
assert datetime.datetime.strptime("Jan 5", "%b %d").day == 5
assert fnmatch.fnmatch("abc", "a*")
assert os.environ == {} and os.getenv("HOME") is None and os.path.basename("/a/b") == "b"
assert not os.path.exists("/etc/passwd")
assert len(uuid.uuid4().hex) == 32 and len(secrets.token_hex(4)) == 8
assert hashlib.sha256(b"").hexdigest()[:4] == "e3b0" and hashlib.md5(b"").hexdigest()[:4] == "d41d"
assert ast.literal_eval("{'a', 1}") == {"a", 1}
assert collections.namedtuple("P", "x y")(1, 2).y == 2
assert dataclasses.make_dataclass("D", ["x"])(3).x == 3
logging.getLogger("rule").warning("text")
assert MagicMock(return_value=3)() == 3 and MagicMock().a.b() is not None
with patch("os.getenv", return_value="x"):
    assert os.getenv("y") == "x"
"#);
    }

    #[test]
    fn times_as_logs_write_them_are_parsed() {
        run(r#"
from datetime import datetime, timedelta, timezone
from dateutil import parser
from dateutil.parser import ParserError, parse

utc = datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
for text in ("2024-01-02T03:04:05Z", "2024-01-02 03:04:05+00:00", "Tue, 02 Jan 2024 03:04:05 GMT",
             "Tue, 2 Jan 2024 05:04:05 +0200", "02/Jan/2024:03:04:05 +0000", "January 2, 2024 3:04:05 AM UTC",
             "2024-01-02 03:04:05.000000000 UTC"):
    assert parser.parse(text) == utc, text
for text in ("2024-01-02 03:04:05", "Tue Jan  2 03:04:05 2024", "2024/01/02 03:04:05", "01/02/2024 03:04:05", "20240102T030405"):
    assert parse(text) == utc.replace(tzinfo=None), text
assert parse("2024-01-02") == datetime(2024, 1, 2) and parse("2 January 2024") == datetime(2024, 1, 2)
assert parse("03:04", default=datetime(2024, 1, 2, 9, 9)) == datetime(2024, 1, 2, 3, 4)
assert parse("2024-01-02T03:04:05Z", ignoretz=True).tzinfo is None
for text in ("", "yesterday", "2024-13-01"):
    try:
        parse(text)
    except ParserError as error:
        assert isinstance(error, ValueError) and (text in str(error)), error
    else:
        raise AssertionError(text)
"#);
    }

    #[test]
    fn actions_of_the_cloud_are_expanded_and_minimized() {
        run(r#"
from policyuniverse.action_categories import actions_for_category, categories_for_actions
from policyuniverse.expander_minimizer import expand_policy, minimize_statement_actions
from policyuniverse.policy import Policy

document = {"Statement": {"Effect": "Allow", "Action": ["iam:AttachUser*", "s3:GetObject", "own:*"], "Resource": "*"}}
expanded = expand_policy(document)
assert expanded["Statement"][0]["Action"] == ["iam:attachuserpolicy", "own:*", "s3:getobject"], expanded
assert document["Statement"]["Action"][0] == "iam:AttachUser*"
assert Policy(expanded).action_summary() == {"iam": {"Permissions"}, "s3": {"Read"}, "own": {None}}
assert categories_for_actions(["ec2:createvpc", "ec2:createtags"]) == {"ec2": {"Write", "Tagging"}}
assert "iam:putrolepolicy" in actions_for_category("Permissions")
every = expand_policy({"Statement": [{"Effect": "Allow", "NotAction": "s3:*"}, {"Effect": "Deny", "Action": "*"}]})
assert len(every["Statement"][0]["Action"]) > 10000 and every["Statement"][1]["Action"] == "*"
assert not any(action.startswith("s3:") for action in every["Statement"][0]["Action"])

def minimized(*actions, **more):
    return minimize_statement_actions({"Effect": "Allow", "Action": list(actions)}, **more)

assert minimized("s3:*") == ["s3:*"] and minimized("s3:GetObjec?") == ["s3:getobject"]
assert minimized("ec2:DescribeVpcs", "ec2:CreateVpc") == ["ec2:createvpc", "ec2:describevpcs"]
assert "s3:*" in minimized("*") and minimized("kms:GetKeyPolicy", minchars=8) == ["kms:getkeypo*"], minimized("kms:GetKeyPolicy", minchars=8)
for wrong in ({"Effect": "Deny", "Action": "s3:*"}, {"Effect": "Allow", "Action": "s3:NoSuchAction"}):
    try:
        minimize_statement_actions(wrong)
    except Exception as error:
        assert "minimized" in str(error) or "not known" in str(error)
    else:
        raise AssertionError(wrong)
"#);
    }

    #[test]
    fn what_rules_cannot_have_fails_in_plain_words() {
        run(r#"
def fails(source, kind, words):
    try:
        sandbox.load("probe", "probe.py", source)
    except kind as error:
        assert words in str(error), f"{source!r}: {error}"
    else:
        raise AssertionError(f"nothing raised by {source!r}")

for name in ("socket", "subprocess", "ctypes", "multiprocessing", "http.client", "urllib.request", "ssl", "shutil"):
    fails(f"import {name}", ImportError, f"module '{name}' is not available: rules have no file, network or process")
fails("import gc", ImportError, "module 'gc' is not available: rules do not control the interpreter")
fails("import concurrent.futures", ImportError, "is not available")
fails("import importlib\nimportlib.import_module('socket')", ImportError, "module 'socket' is not available")
for call in ("open('/etc/passwd')", "input()", "breakpoint()"):
    fails(call, PermissionError, "is not available: rules have no file, network or process access")
for call in ("eval('1')", "exec('1')", "compile('1', 'f', 'eval')"):
    fails(call, PermissionError, "() is not available: rules do not run generated code")
    fails("import builtins\nbuiltins." + call, PermissionError, "rules do not run generated code")
fails("import os\nos.system('ls')", AttributeError, "os.system is not available")
fails("import os\nos.listdir('/')", PermissionError, "os.listdir() is not available")
fails("import threading\nthreading.Thread(target=print).start()", PermissionError, "rules run in one thread")
fails("import sys\nsys.setrecursionlimit(10**9)", PermissionError, "rules do not control the interpreter")
fails("import io\nio.open('/etc/passwd')", Exception, "")
fails("import boto3\nboto3.client('s3')", PermissionError, "boto3.client() is not available")
fails("import requests\nrequests.get('http://localhost')", PermissionError, "requests.get() is not available")
fails("import no_such_module", ModuleNotFoundError, "no_such_module")
sandbox.load("probe", "probe.py", """
from botocore.exceptions import ClientError
try:
    raise ClientError("x")
except ClientError:
    pass
""")
"#);
    }
}
