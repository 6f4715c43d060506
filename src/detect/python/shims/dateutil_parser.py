"""`dateutil.parser.parse` for the forms of time that logs use: ISO 8601, RFC 2822, and dates written out in English.

Not the original's guessing: what is in none of these forms is an error. In `01/02/2024` the month comes first.
"""

import re
from datetime import datetime, timedelta, timezone

__all__ = ["ParserError", "isoparse", "parse"]


class ParserError(ValueError):
    """The text is not a time in a form that is known here."""

    def __str__(self):
        return self.args[0] % self.args[1:] if len(self.args) > 1 else super().__str__()


_DATES = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y%m%d",
    "%m/%d/%Y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d %Y",
    "%B %d %Y",
    "%d/%b/%Y",
    "%d-%b-%Y",
)
_TIMES = ("", "%H:%M:%S.%f", "%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M%p")
_ZONE = re.compile(r"\s*(?:(?P<utc>Z|UTC|GMT)|(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)\s*(\(\w+\))?$", re.I)
_CLOCK = re.compile(r"\d\d?:\d\d")
_DAY_NAME = re.compile(r"^(mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", re.I)


def isoparse(dt_str):
    try:
        return datetime.fromisoformat(dt_str)
    except ValueError as error:
        raise ParserError("Unknown string format: %s", dt_str) from error


def parse(timestr, parserinfo=None, *, default=None, ignoretz=False, dayfirst=False, yearfirst=False, fuzzy=False):
    if parserinfo is not None or dayfirst or yearfirst or fuzzy:
        raise NotImplementedError("dateutil.parser.parse() understands only the options 'default' and 'ignoretz' here")
    if not isinstance(timestr, str):
        raise TypeError(f"Parser must be a string, not {type(timestr).__name__}")
    text = " ".join(timestr.split())
    if not text:
        raise ParserError("String does not contain a date: %s", timestr)
    found = _iso(text) or _written_out(text, default)
    if found is None:
        raise ParserError("Unknown string format: %s", timestr)
    return found.replace(tzinfo=None) if ignoretz else found


def _iso(text):
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _written_out(text, default):
    zone = None
    match = _ZONE.search(text) if _CLOCK.search(text) else None
    if match:
        text = text[: match.start()]
        zone = timezone.utc
        if match["sign"]:
            offset = timedelta(hours=int(match["hours"]), minutes=int(match["minutes"] or 0))
            zone = timezone(-offset if match["sign"] == "-" else offset)
    text = _DAY_NAME.sub("", text).replace(",", "")
    # Python reads six digits of a second's fraction.
    text = re.sub(r"(:\d\d\.\d{6})\d+", r"\1", text)
    forms = [(date, "", time) if not time else (date, " ", time) for date in _DATES for time in _TIMES]
    forms += [(date, separator, "%H:%M:%S") for date in _DATES for separator in (":", "T")]
    forms += [("%a %b %d %H:%M:%S %Y", "", ""), ("%b %d %H:%M:%S %Y", "", "")]
    for form in forms:
        try:
            return datetime.strptime(text, "".join(form)).replace(tzinfo=zone)
        except ValueError:
            continue
    for form in _TIMES[1:]:
        try:
            time = datetime.strptime(text, form).time()
        except ValueError:
            continue
        day = default or datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
        return datetime.combine(day.date(), time, zone)
    return None
