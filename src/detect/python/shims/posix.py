"""The part of the operating system that the standard library insists on: every call to it fails."""

NO_ACCESS = "rules have no file, network or process access"


def getcwd():
    return "/"


def fspath(path):
    if isinstance(path, (str, bytes)):
        return path
    try:
        path = type(path).__fspath__(path)
    except AttributeError:
        raise TypeError(f"expected str, bytes or os.PathLike object, not {type(path).__name__}") from None
    if not isinstance(path, (str, bytes)):
        raise TypeError("__fspath__() must return str or bytes")
    return path


def _refuse(function):
    def call(*args, **kwargs):
        raise PermissionError(f"os.{function}() is not available: {NO_ACCESS}")

    call.__name__ = call.__qualname__ = function
    return call


# Those the standard library expects to fail with an OSError rather than to be missing.
for _name in ("stat", "lstat", "listdir", "scandir", "open", "readlink", "isatty", "get_terminal_size"):
    globals()[_name] = _refuse(_name)


def __getattr__(attribute):
    raise AttributeError(f"posix.{attribute} is not available: {NO_ACCESS}")
