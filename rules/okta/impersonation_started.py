"""Okta support was let into the organisation, or somebody acts as another user."""

from margay_helpers import okta_actor, okta_context

EVENTS = {
    "user.session.impersonation.grant": "allowed Okta support to act in the organisation",
    "user.session.impersonation.extend": "extended the access of Okta support",
    "user.session.impersonation.initiate": "started an impersonation session",
}


def rule(event):
    return event.get("eventType") in EVENTS and event.deep_get("outcome", "result") == "SUCCESS"


def title(event):
    return f"{okta_actor(event)} {EVENTS[event['eventType']]}"


def alert_context(event):
    return okta_context(event)
