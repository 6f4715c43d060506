"""`PantherEvent` under its full name."""

from _margay import PantherEvent
