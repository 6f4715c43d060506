"""Signal numbers, and handlers that cannot be set: a worker's signals are not a rule's to handle."""

SIG_DFL = 0
SIG_IGN = 1
SIGHUP = 1
SIGINT = 2
SIGQUIT = 3
SIGABRT = 6
SIGKILL = 9
SIGSEGV = 11
SIGPIPE = 13
SIGALRM = 14
SIGTERM = 15
NSIG = 65


def default_int_handler(signum, frame):
    raise KeyboardInterrupt


def signal(signalnum, handler):
    raise PermissionError("signal.signal() is not available: rules do not control the interpreter")


def getsignal(signalnum):
    return SIG_DFL


def valid_signals():
    return set(range(1, NSIG))


def strsignal(signalnum):
    return None


def raise_signal(signum):
    raise PermissionError("signal.raise_signal() is not available: rules do not control the interpreter")


def set_wakeup_fd(fd, *, warn_on_full_buffer=True):
    raise PermissionError("signal.set_wakeup_fd() is not available: rules do not control the interpreter")
