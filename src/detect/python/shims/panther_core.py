"""The package that rules import their event classes from."""

from _margay import ImmutableCaseInsensitiveDict, ImmutableList, PantherEvent

__all__ = ["ImmutableCaseInsensitiveDict", "ImmutableList", "PantherEvent"]
