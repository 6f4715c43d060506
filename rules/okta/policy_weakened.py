"""A sign-on policy, one of its rules, or a network zone was switched off or deleted."""

from margay_helpers import okta_actor, okta_context, okta_targets

WEAKENING_EVENTS = {
    "policy.lifecycle.deactivate",
    "policy.lifecycle.delete",
    "policy.rule.deactivate",
    "policy.rule.delete",
    "zone.deactivate",
    "zone.delete",
}


def rule(event):
    if event.get("eventType") not in WEAKENING_EVENTS:
        return False
    return event.deep_get("outcome", "result") == "SUCCESS"


def changed_items(event):
    return okta_targets(event)


def title(event):
    names = ", ".join(changed_items(event)) or "a protection"
    return f"{okta_actor(event)} weakened {names} in Okta ({event['eventType']})"


def alert_context(event):
    return okta_context(event, changed=changed_items(event))
