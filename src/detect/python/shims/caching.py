"""Counters, string sets and dictionaries that outlive an event.

Lives in the worker's memory, for one test case at a time. Outside of a test case there is no store, and every call
says so. Items expire exactly: an expired item reads as absent.
"""

import json
import time
from collections.abc import Mapping, Sequence

_DEFAULT_TTL = 90 * 24 * 3600
# Below this a time is meant as "from now".
_FIRST_POINT_IN_TIME = 1_000_000_000

# None, or key -> [value, seconds since 1970 at which it expires].
_store = None


def _begin():
    global _store
    _store = {}


def _end():
    global _store
    _store = None


def _items():
    if _store is None:
        raise RuntimeError("the key-value store is not available to rules in production yet: use it in tests only")
    return _store


def _expiry(epoch_seconds):
    if epoch_seconds is None:
        return time.time() + _DEFAULT_TTL
    seconds = float(epoch_seconds)
    return seconds if seconds >= _FIRST_POINT_IN_TIME else time.time() + seconds


def _read(key):
    item = _items().get(key)
    if item is None or item[1] <= time.time():
        return None
    return item[0]


def _write(key, value, epoch_seconds=None):
    _items()[key] = [value, _expiry(epoch_seconds)]


def set_key_expiration(key, epoch_seconds):
    item = _items().get(key)
    if item is not None:
        item[1] = _expiry(epoch_seconds)


def get_counter(key, force_ttl_check=False):
    value = _read(key)
    return value if isinstance(value, int) else 0


def increment_counter(key, val=1, epoch_seconds=None):
    value = get_counter(key) + val
    _write(key, value, epoch_seconds)
    return value


def reset_counter(key):
    _write(key, 0)


def evaluate_threshold(key, threshold=10, expiry_seconds=3600):
    count = increment_counter(key)
    if count == 1:
        set_key_expiration(key, time.time() + float(expiry_seconds))
    if count >= threshold:
        reset_counter(key)
        return True
    return False


def put_dictionary(key, val, epoch_seconds=None):
    if not isinstance(val, Mapping):
        raise TypeError("panther_oss_helpers.put_dictionary: value is not a mapping")
    try:
        text = json.dumps(val)
    except TypeError as error:
        raise ValueError("panther_oss_helpers.put_dictionary: value is not JSON serializable") from error
    _write(key, text, epoch_seconds)


def get_dictionary(key, force_ttl_check=False):
    text = _read(key)
    return json.loads(text) if isinstance(text, str) else {}


def get_string_set(key, force_ttl_check=False):
    value = _read(key)
    return set(value) if isinstance(value, frozenset) else set()


def put_string_set(key, val, epoch_seconds=None):
    if not isinstance(val, (Sequence, set, frozenset)):
        raise TypeError("panther_oss_helpers.put_string_set: value is not a sequence or a set of strings")
    if not val:
        reset_string_set(key)
    else:
        _write(key, frozenset(str(item) for item in _strings(val)), epoch_seconds)


def _strings(val):
    return [val] if isinstance(val, str) else val


def add_to_string_set(key, val):
    strings = get_string_set(key) | {str(item) for item in _strings(val)}
    _write(key, frozenset(strings))
    return strings


def remove_from_string_set(key, val):
    strings = get_string_set(key) - {str(item) for item in _strings(val)}
    _write(key, frozenset(strings))
    return strings


def reset_string_set(key):
    _items().pop(key, None)


def check_account_age(key):
    return bool(get_string_set(key))
