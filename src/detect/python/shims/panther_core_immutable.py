"""The parts of an event under their full names."""

from _margay import ImmutableCaseInsensitiveDict, ImmutableList
