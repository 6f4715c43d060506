"""Many sign-ins of one user failed: the threshold counts the failures of a user."""

from margay_helpers import okta_actor, okta_context

SIGN_IN_EVENTS = ("user.session.start", "user.authentication.auth_via_mfa")
GUESSING = ("INVALID_CREDENTIALS", "LOCKED_OUT", "VERIFICATION_ERROR")


def rule(event):
    if event.get("eventType") not in SIGN_IN_EVENTS:
        return False
    if event.deep_get("outcome", "result") != "FAILURE":
        return False
    return event.deep_get("outcome", "reason") in GUESSING


def title(event):
    return f"Repeated failed Okta sign-ins of {okta_actor(event)}"


def dedup(event):
    return okta_actor(event)


def alert_context(event):
    return okta_context(event, zone=event.deep_get("client", "zone"))
