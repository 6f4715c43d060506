"""Many console sign-ins from one address failed: the threshold counts the failures of an address."""

from margay_helpers import aws_account, aws_actor, aws_context, is_office


def rule(event):
    if event.get("eventName") != "ConsoleLogin":
        return False
    return event.deep_get("responseElements", "ConsoleLogin", default="") == "Failure"


def title(event):
    return f"Repeated failed console sign-ins from {event.get('sourceIPAddress')}"


def dedup(event):
    return event.get("sourceIPAddress") or "unknown address"


def severity(event):
    if event.deep_get("userIdentity", "type") == "Root":
        return "HIGH"
    # A shared egress address collects the typing errors of a whole office.
    return "LOW" if is_office(event.get("sourceIPAddress")) else "DEFAULT"


def alert_context(event):
    return aws_context(
        event,
        # AWS hides the name when it is not that of a user, since people type passwords there.
        attemptedUser=aws_actor(event),
        reason=event.get("errorMessage"),
        accountTried=aws_account(event),
    )
