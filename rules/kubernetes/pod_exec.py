"""Somebody opened a shell in a running pod."""

from margay_helpers import kubernetes_actor, kubernetes_allowed, kubernetes_context, kubernetes_object

WAYS_IN = ("exec", "attach")

# Namespaces whose pods hold the keys of the cluster.
SYSTEM_NAMESPACES = ("kube-system", "kube-public")


def rule(event):
    if event.get("verb") not in ("create", "get") or not kubernetes_allowed(event):
        return False
    return event.deep_get("objectRef", "resource") == "pods" and event.deep_get("objectRef", "subresource") in WAYS_IN


def command(event):
    return " ".join(event.deep_get("requestObject", "command", default=[]))


def title(event):
    return f"{kubernetes_actor(event)} opened {kubernetes_object(event)}"


def dedup(event):
    return f"{kubernetes_actor(event)}:{event.deep_get('objectRef', 'namespace')}"


def severity(event):
    return "HIGH" if event.deep_get("objectRef", "namespace") in SYSTEM_NAMESPACES else "DEFAULT"


def alert_context(event):
    return kubernetes_context(event, command=command(event))
