"""`os` for rules: path functions and an empty environment. Nothing here reaches the machine."""

import abc
import sys

from _margay import random_bytes as urandom
from posix import NO_ACCESS, fspath, get_terminal_size, getcwd, isatty, listdir, lstat, open, readlink, scandir, stat

name = "posix"
linesep = "\n"
sep = "/"
altsep = None
pathsep = ":"
curdir = "."
pardir = ".."
extsep = "."
defpath = "/bin:/usr/bin"
devnull = "/dev/null"
error = OSError


class _Environment(dict):
    """Empty, and it stays so: what one rule puts into it, another would see."""

    def _refuse(self, *args, **kwargs):
        raise PermissionError("os.environ cannot be changed: rules have no environment")

    __setitem__ = __ior__ = setdefault = update = _refuse


environ = _Environment()
environb = _Environment()
supports_bytes_environ = True


def getenv(key, default=None):
    return environ.get(key, default)


def fsencode(filename):
    filename = fspath(filename)
    return filename.encode("utf-8", "surrogateescape") if isinstance(filename, str) else filename


def fsdecode(filename):
    filename = fspath(filename)
    return filename.decode("utf-8", "surrogateescape") if isinstance(filename, bytes) else filename


class PathLike(abc.ABC):
    __slots__ = ()

    @abc.abstractmethod
    def __fspath__(self):
        raise NotImplementedError

    @classmethod
    def __subclasshook__(cls, subclass):
        return hasattr(subclass, "__fspath__") if cls is PathLike else NotImplemented


def __getattr__(attribute):
    raise AttributeError(f"os.{attribute} is not available: {NO_ACCESS}")


import posixpath as path

sys.modules["os.path"] = path
