"""One address failed to sign in as many different users; `unique` counts the users."""

from margay_helpers import is_internal, is_office, okta_actor, okta_context


def rule(event):
    if event.get("eventType") != "user.session.start":
        return False
    if event.deep_get("outcome", "result") != "FAILURE":
        return False
    if event.deep_get("outcome", "reason") not in ("INVALID_CREDENTIALS", "LOCKED_OUT"):
        return False
    address = event.deep_get("client", "ipAddress")
    # Behind the address of an office there are many people, and some of them mistype.
    return address is not None and not is_office(address) and not is_internal(address)


def title(event):
    return f"Password spraying against Okta from {event.deep_get('client', 'ipAddress')}"


def dedup(event):
    return event["client"]["ipAddress"]


def unique(event):
    return okta_actor(event)


def alert_context(event):
    return okta_context(
        event,
        provider=event.deep_get("securityContext", "isp"),
        asNumber=event.deep_get("securityContext", "asNumber"),
    )
