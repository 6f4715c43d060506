"""Somebody received an administrator role in Google Workspace."""

from margay_helpers import workspace_actor, workspace_context

APPOINTING = ("ASSIGN_ROLE", "GRANT_ADMIN_PRIVILEGE")

# The role that can do everything, under its names in the log.
SUPER_ADMIN = ("_SEED_ADMIN_ROLE", "Super Admin")


def rule(event):
    return event.deep_get("id", "applicationName") == "admin" and event.get("name") in APPOINTING


def receiver(event):
    return event.deep_get("parameters", "USER_EMAIL", default="unknown user")


def role(event):
    return event.deep_get("parameters", "ROLE_NAME", default="administrator")


def title(event):
    return f"{workspace_actor(event)} made {receiver(event)} {role(event)} in Google Workspace"


def dedup(event):
    return receiver(event)


def severity(event):
    everything = event.get("name") == "GRANT_ADMIN_PRIVILEGE" or role(event) in SUPER_ADMIN
    return "HIGH" if everything else "DEFAULT"


def alert_context(event):
    return workspace_context(event, receiver=receiver(event), role=role(event))
