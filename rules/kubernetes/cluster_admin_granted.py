"""Somebody was bound to the role that may do everything in the cluster."""

from margay_helpers import kubernetes_actor, kubernetes_allowed, kubernetes_context

BINDINGS = ("clusterrolebindings", "rolebindings")
EVERYTHING = ("cluster-admin", "admin")


def rule(event):
    if event.get("verb") not in ("create", "update", "patch") or not kubernetes_allowed(event):
        return False
    if event.deep_get("objectRef", "resource") not in BINDINGS:
        return False
    return event.deep_get("requestObject", "roleRef", "name") in EVERYTHING


def receivers(event):
    return [subject.get("name", "unnamed") for subject in event.deep_get("requestObject", "subjects", default=[])]


def title(event):
    role = event.deep_get("requestObject", "roleRef", "name")
    return f"{kubernetes_actor(event)} gave {role} to {', '.join(receivers(event)) or 'nobody yet'}"


def dedup(event):
    return f"{kubernetes_actor(event)}:{event.deep_get('objectRef', 'name')}"


def severity(event):
    whole = event.deep_get("objectRef", "resource") == "clusterrolebindings"
    return "DEFAULT" if whole else "MEDIUM"


def alert_context(event):
    return kubernetes_context(event, receivers=receivers(event))
