"""A long-lived API token was created in Okta."""

from margay_helpers import okta_actor, okta_context, okta_targets


def rule(event):
    if event.get("eventType") != "system.api_token.create":
        return False
    return event.deep_get("outcome", "result") == "SUCCESS"


def token_name(event):
    for item in event.get("target") or []:
        if item.get("type") == "Token":
            return item.get("displayName") or item.get("id")
    return "unnamed"


def title(event):
    return f"{okta_actor(event)} created the Okta API token {token_name(event)}"


def dedup(event):
    return okta_actor(event)


def alert_context(event):
    return okta_context(event, token=token_name(event), owners=okta_targets(event, "User"))
