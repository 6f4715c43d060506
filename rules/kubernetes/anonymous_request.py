"""The API server answered somebody who did not say who they are."""

from margay_helpers import kubernetes_allowed, kubernetes_context, kubernetes_object

# What every client may ask, and load balancers do.
HARMLESS = ("/healthz", "/livez", "/readyz", "/version")


def rule(event):
    if event.deep_get("user", "username") != "system:anonymous" or not kubernetes_allowed(event):
        return False
    path = event.get("requestURI", "").split("?", 1)[0]
    return not any(path == known or path.startswith(f"{known}/") for known in HARMLESS)


def title(event):
    return f"Kubernetes answered an anonymous request: {event.get('verb')} {kubernetes_object(event)}"


def dedup(event):
    return ",".join(event.get("sourceIPs") or [])


def severity(event):
    return "DEFAULT" if event.get("verb") in ("get", "list", "watch") else "CRITICAL"


def alert_context(event):
    return kubernetes_context(event)
