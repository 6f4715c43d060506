"""Okta locked an account after too many failed sign-ins."""

from fnmatch import fnmatch

from margay_helpers import okta_actor, okta_context, okta_place, okta_targets

LOCK_EVENTS = ("user.account.lock", "user.account.lock.limit")

# Accounts that open many doors, as shell patterns of their login names.
IMPORTANT_ACCOUNTS = ["admin*", "*-admin@*", "svc-*", "breakglass*"]


def rule(event):
    return event.get("eventType") in LOCK_EVENTS


def locked_user(event):
    # Okta names the account as target; where it does not, the actor is the account itself.
    return next(iter(okta_targets(event, "User")), okta_actor(event))


def title(event):
    return f"Okta locked the account {locked_user(event)}"


def dedup(event):
    return locked_user(event)


def severity(event):
    name = locked_user(event).lower()
    return "HIGH" if any(fnmatch(name, pattern) for pattern in IMPORTANT_ACCOUNTS) else "DEFAULT"


def description(event):
    return (
        f"Too many sign-ins of {locked_user(event)} failed. The last came from "
        f"{event.deep_get('client', 'ipAddress', default='an unknown address')} ({okta_place(event)})."
    )


def alert_context(event):
    return okta_context(event, user=locked_user(event))
