"""A console sign-in succeeded with a client that is no ordinary browser."""

from fnmatch import fnmatchcase

from margay_helpers import aws_account, aws_actor, aws_context

# Compared in lower case.
SCRIPTED_CLIENTS = [
    "curl/*",
    "wget/*",
    "python-*",
    "*aiohttp/*",
    "*httpx/*",
    "go-http-client/*",
    "okhttp/*",
    "axios/*",
    "node-fetch*",
    "*headlesschrome/*",
    "*phantomjs/*",
    "*powershell/*",
]


def matching_client(user_agent):
    """The pattern of a scripted client, `no user agent`, or None for a browser."""
    agent = (user_agent or "").strip().lower()
    if agent in ("", "-"):
        return "no user agent"
    return next((pattern for pattern in SCRIPTED_CLIENTS if fnmatchcase(agent, pattern)), None)


def rule(event):
    if event.get("eventName") != "ConsoleLogin":
        return False
    if event.deep_get("responseElements", "ConsoleLogin") != "Success":
        return False
    return matching_client(event.get("userAgent")) is not None


def title(event):
    return f"{aws_actor(event)} signed in to account {aws_account(event)} with a script"


def dedup(event):
    return f"{aws_account(event)}:{aws_actor(event)}"


def alert_context(event):
    return aws_context(event, matched=matching_client(event.get("userAgent")))
