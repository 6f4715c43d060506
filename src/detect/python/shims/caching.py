"""Counters, string sets and dictionaries that outlive an event.

They are kept by the daemon, which also decides what a call does: here is only what Python sees of it. Items expire
exactly, so `force_ttl_check` makes no difference. A test case finds an empty store.
"""

import json
from collections.abc import Mapping, Sequence, Set

from _margay import key_value as _daemon

_LARGEST_COUNTER = 2**63 - 1


def _ask(key, operation):
    if not isinstance(key, str):
        raise TypeError(f"a key is a string, not {type(key).__name__}")
    return json.loads(_daemon(json.dumps({"key": key, "operation": operation}, allow_nan=False)))


def _seconds(epoch_seconds):
    return None if epoch_seconds is None else float(epoch_seconds)


def _strings(function, val):
    if isinstance(val, str):
        return [val] if val else []
    if not isinstance(val, (Sequence, Set)):
        raise TypeError(f"panther_oss_helpers.{function}: value is not a string, or a sequence or set of strings")
    return [str(item) for item in val]


def set_key_expiration(key, epoch_seconds):
    _ask(key, {"set_expiration": {"expires": _seconds(epoch_seconds)}})


def get_counter(key, force_ttl_check=False):
    return _ask(key, "get_counter")["count"]


def increment_counter(key, val=1, epoch_seconds=None):
    if not isinstance(val, int):
        raise TypeError(f"panther_oss_helpers.increment_counter: value is not an integer but {type(val).__name__}")
    if abs(val) > _LARGEST_COUNTER:
        raise ValueError("panther_oss_helpers.increment_counter: value does not fit in 64 bits")
    return _ask(key, {"increment_counter": {"by": int(val), "expires": _seconds(epoch_seconds)}})["count"]


def reset_counter(key):
    _ask(key, "reset_counter")


def evaluate_threshold(key, threshold=10, expiry_seconds=3600):
    asked = {"threshold": float(threshold), "expiry_seconds": float(expiry_seconds)}
    return _ask(key, {"evaluate_threshold": asked})["reached"]


def put_dictionary(key, val, epoch_seconds=None):
    if not isinstance(val, Mapping):
        raise TypeError("panther_oss_helpers.put_dictionary: value is not a mapping")
    try:
        text = json.dumps(val, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("panther_oss_helpers.put_dictionary: value is not JSON serializable") from error
    _ask(key, {"put_dictionary": {"json": text, "expires": _seconds(epoch_seconds)}})


def get_dictionary(key, force_ttl_check=False):
    text = _ask(key, "get_dictionary")["dictionary"]
    return {} if text is None else json.loads(text)


def get_string_set(key, force_ttl_check=False):
    return set(_ask(key, "get_string_set")["strings"])


def put_string_set(key, val, epoch_seconds=None):
    strings = _strings("put_string_set", val)
    _ask(key, {"put_string_set": {"strings": strings, "expires": _seconds(epoch_seconds)}})


def add_to_string_set(key, val):
    return set(_ask(key, {"add_to_string_set": {"strings": _strings("add_to_string_set", val)}})["strings"])


def remove_from_string_set(key, val):
    return set(_ask(key, {"remove_from_string_set": {"strings": _strings("remove_from_string_set", val)}})["strings"])


def reset_string_set(key):
    _ask(key, "reset_string_set")


def check_account_age(key):
    return isinstance(key, str) and key != "" and bool(get_string_set(key))
