"""Somebody else removed the second factors of a user."""

from margay_helpers import okta_actor, okta_context, okta_targets

RESET_EVENTS = ("user.mfa.factor.reset_all", "user.mfa.factor.deactivate")


def rule(event):
    if event.get("eventType") not in RESET_EVENTS:
        return False
    if event.deep_get("outcome", "result") != "SUCCESS":
        return False
    # People who replace a lost phone remove their own factor; that is ordinary.
    actor = event.deep_get("actor", "id")
    users = [item.get("id") for item in event.get("target") or [] if item.get("type") == "User"]
    return actor not in users


def user(event):
    return ", ".join(okta_targets(event, "User")) or "an unnamed user"


def title(event):
    what = "all factors" if event["eventType"].endswith("reset_all") else "a factor"
    return f"{okta_actor(event)} removed {what} of {user(event)} in Okta"


def dedup(event):
    return user(event)


def severity(event):
    return "DEFAULT" if event["eventType"].endswith("reset_all") else "LOW"


def alert_context(event):
    return okta_context(event, user=user(event))
