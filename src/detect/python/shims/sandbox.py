"""What stands between rules and the interpreter: where modules come from, and which builtins rules see.

Not a security boundary: that is the process around this interpreter. This makes what rules cannot have fail early
and in plain words. Runs once, with `SHIMS` (name -> (source, is a package)) already in its globals.
"""

import sys
from _frozen_importlib import ModuleSpec, _call_with_frames_removed

import _io
import _thread
import builtins
import io
import marshal

NO_ACCESS = "rules have no file, network or process access"
NO_CONTROL = "rules do not control the interpreter"

# Nobody gets these, neither rules nor the standard library on their behalf.
ABSENT = dict.fromkeys(
    """
    _ctypes _multiprocessing _posixsubprocess _socket _ssl _winapi ctypes curses dbm fcntl filecmp fileinput ftplib
    getpass glob grp http.client http.cookiejar http.server imaplib mailbox mmap msvcrt multiprocessing netrc nntplib
    poplib posix nt pty pwd readline resource select selectors shelve shutil smtplib socket socketserver sqlite3 ssl
    subprocess syslog tarfile telnetlib termios tkinter tty turtle urllib.request urllib.robotparser venv webbrowser
    winreg xmlrpc zipapp zipfile zipimport
    """.split(),
    NO_ACCESS,
)
# The standard library may import these, rules may not.
DENIED = ABSENT | dict.fromkeys(
    """
    _frozen_importlib _frozen_importlib_external _imp _interpchannels _interpqueues _interpreters _remote_debugging
    _testinternalcapi _thread atexit bdb cProfile code codeop compileall concurrent dis ensurepip faulthandler gc idlelib
    importlib._bootstrap importlib._bootstrap_external marshal pdb profile py_compile pydoc runpy signal site
    trace tracemalloc
    """.split(),
    NO_CONTROL,
)
DENIED |= dict.fromkeys(("_pickle", "pickle", "pickletools"), "reading a pickle runs what came with the data")

# Helper modules of the rule set: name -> (file, source).
helpers = {}
# Helper modules that did not load -> the text of the first failure.
broken = {}
# Names of the helper modules that are being imported right now, outermost first.
loading = []


def reason_in(table, name):
    return table.get(name) or table.get(name.partition(".")[0])


class Finder:
    """First on `sys.meta_path`: helper modules, then own modules, then what is denied."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in helpers:
            return ModuleSpec(name, HelperLoader, origin=helpers[name][0])
        if name in SHIMS:
            return ModuleSpec(name, ShimLoader, origin="margay", is_package=SHIMS[name][1])
        reason = reason_in(ABSENT, name)
        if reason:
            raise ImportError(f"module '{name}' is not available: {reason}", name=name)
        return None


class ShimLoader:
    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        source = SHIMS[module.__name__][0]
        exec(compile(source, f"<margay {module.__name__}>", "exec"), module.__dict__)


class HelperLoader:
    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        name = module.__name__
        if name in broken:
            raise ImportError(f"helper module '{name}' did not load: {broken[name]}", name=name)
        loading.append(name)
        try:
            run(module, *helpers[name])
        except BaseException as error:
            broken.setdefault(name, f"{type(error).__name__}: {error}")
            raise
        finally:
            loading.pop()


def run(module, file, source):
    """Executes the source of a rule set's module with the builtins of rules."""
    module.__file__ = file
    module.__dict__["__builtins__"] = rule_builtins
    code = compile(source, file, "exec", dont_inherit=True)
    _call_with_frames_removed(exec, code, module.__dict__)


def load(name, file, source):
    """A module that only its owner knows: a rule, or the functions of a data model."""
    module = type(sys)(name)
    sys.modules[name] = module
    try:
        run(module, file, source)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def rule_import(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0:
        if name == "builtins":
            return restricted_builtins
        if name in loading:
            cycle = " -> ".join([*loading[loading.index(name) :], name])
            raise ImportError(f"helper modules import each other in a cycle: {cycle}", name=name)
        # An own module may have imported it before; that does not make it available.
        reason = name not in helpers and name not in SHIMS and reason_in(DENIED, name)
        if reason:
            raise ImportError(f"module '{name}' is not available: {reason}", name=name)
    return plain_import(name, globals, locals, fromlist, level)


def forbidden(name, reason):
    def call(*args, **kwargs):
        raise PermissionError(f"{name}() is not available: {reason}")

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    return call


def build_class(function, name, *bases, **keywords):
    built = plain_build_class(function, name, *bases, **keywords)
    if isinstance(built, type) and "__del__" in vars(built):
        raise TypeError(f"class {name} has a __del__ method, which would run in the time of another rule")
    return built


plain_import = builtins.__import__
plain_build_class = builtins.__build_class__
# Nobody has these, so the standard library need not have them either.
for name in ("open", "input", "breakpoint"):
    setattr(builtins, name, forbidden(name, NO_ACCESS))
rule_builtins = dict(builtins.__dict__)
rule_builtins["__import__"] = rule_import
rule_builtins["__build_class__"] = build_class
for name in ("eval", "exec", "compile"):
    rule_builtins[name] = forbidden(name, "rules do not run generated code")
for name in ("help", "exit", "quit"):
    rule_builtins[name] = forbidden(name, NO_ACCESS)
restricted_builtins = type(sys)("builtins")
restricted_builtins.__dict__.update(rule_builtins)

# A thread would outlive the call that started it and its time budget with it.
for name in ("start_new", "start_new_thread", "start_joinable_thread"):
    setattr(_thread, name, forbidden(f"_thread.{name}", "rules run in one thread"))
# Raising a limit would trade an exception for a crash, and it would be raised for all rules.
for name in (
    "setrecursionlimit",
    "set_int_max_str_digits",
    "settrace",
    "setprofile",
    "addaudithook",
    "breakpointhook",
    "setswitchinterval",
    "set_asyncgen_hooks",
    "set_coroutine_origin_tracking_depth",
    "_current_frames",
):
    setattr(sys, name, forbidden(f"sys.{name}", NO_CONTROL))
# Code in this form is not checked before it runs.
for name in ("load", "loads"):
    setattr(marshal, name, forbidden(f"marshal.{name}", "rules do not run generated code"))
for name in ("open", "open_code", "FileIO"):
    setattr(_io, name, forbidden(f"io.{name}", NO_ACCESS))
    setattr(io, name, getattr(_io, name))

# Nobody changes what finds modules for all.
sys.meta_path = (Finder, *sys.meta_path)
sys.path[:] = []

# Frozen modules have no __file__; this one asks for its own when a format has no year.
import _strptime

_strptime.__file__ = "/margay/_strptime.py"
