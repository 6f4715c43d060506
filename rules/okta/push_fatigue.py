"""A user refused several sign-in requests on the phone: the threshold counts the refusals of a user."""

from margay_helpers import okta_actor, okta_context, okta_place


def rule(event):
    kind = event.get("eventType")
    if kind == "user.mfa.okta_verify.deny_push":
        return True
    if kind != "user.authentication.auth_via_mfa":
        return False
    return (
        event.deep_get("outcome", "result") == "FAILURE"
        and event.deep_get("debugContext", "debugData", "factor") == "OKTA_VERIFY_PUSH"
    )


def title(event):
    return f"{okta_actor(event)} refuses repeated Okta push requests"


def dedup(event):
    return okta_actor(event)


def runbook(event):
    address = event.deep_get("client", "ipAddress", default="an unknown address")
    return (
        f"Call {okta_actor(event)} and tell them to refuse every request they did not start. The "
        f"password is known to somebody at {address} ({okta_place(event)}): reset it. "
        f"Then look for a request that was approved after the refusals."
    )


def alert_context(event):
    return okta_context(event, factor=event.deep_get("debugContext", "debugData", "factor"))
