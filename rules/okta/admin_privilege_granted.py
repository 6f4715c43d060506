"""A user or group was made administrator of the Okta organisation."""

import re

from margay_helpers import okta_actor, okta_context, okta_targets

GRANT_EVENTS = ("user.account.privilege.grant", "group.privilege.grant")
SUPER_ADMIN = re.compile(r"\bsuper (organi[sz]ation )?admin", re.IGNORECASE)


def privilege(event):
    """The name of the role, as Okta writes it for people."""
    return event.deep_get("debugContext", "debugData", "privilegeGranted", default="an admin role")


def rule(event):
    return event.get("eventType") in GRANT_EVENTS and event.deep_get("outcome", "result") == "SUCCESS"


def receiver(event):
    return ", ".join(okta_targets(event, "User", "UserGroup")) or "an unnamed receiver"


def title(event):
    return f"{okta_actor(event)} granted {privilege(event)} to {receiver(event)} in Okta"


def dedup(event):
    return f"{receiver(event)}:{privilege(event)}"


def severity(event):
    return "CRITICAL" if SUPER_ADMIN.search(privilege(event)) else "DEFAULT"


def alert_context(event):
    return okta_context(event, receiver=receiver(event), privilege=privilege(event))
