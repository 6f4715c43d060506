"""Somebody signed in through a network that hides where they are.

Okta tells in three places: a flag of the security context, a JSON text that lists the tunnels of the
address, and its own judgement of the address as a threat.
"""

import json

from margay_helpers import okta_actor, okta_context

SIGN_IN_EVENTS = (
    "user.session.start",
    "user.authentication.sso",
    "user.authentication.auth_via_mfa",
)


def anonymous_tunnels(event):
    """Names of the anonymising networks the address belongs to."""
    text = event.deep_get("debugContext", "debugData", "tunnels")
    if not text:
        return []
    try:
        tunnels = json.loads(text)
    except (TypeError, ValueError):
        return []
    if not isinstance(tunnels, list):
        return []
    return [
        str(tunnel.get("operator") or tunnel.get("type") or "unnamed")
        for tunnel in tunnels
        if isinstance(tunnel, dict) and tunnel.get("anonymous") is True
    ]


def signs(event):
    """Why the address is suspicious; empty when it is not."""
    found = [f"tunnel {name}" for name in anonymous_tunnels(event)]
    if event.deep_get("securityContext", "isProxy") is True:
        found.append("proxy")
    if event.deep_get("debugContext", "debugData", "threatSuspected") == "true":
        found.append("threat suspected by Okta")
    return found


def rule(event):
    if event.get("eventType") not in SIGN_IN_EVENTS:
        return False
    if event.deep_get("outcome", "result") not in ("SUCCESS", "ALLOW"):
        return False
    return len(signs(event)) > 0


def title(event):
    return f"{okta_actor(event)} signed in to Okta through an anonymising network"


def dedup(event):
    return f"{okta_actor(event)}:{event.deep_get('client', 'ipAddress', default='unknown')}"


def severity(event):
    return "HIGH" if len(signs(event)) > 1 else "DEFAULT"


def alert_context(event):
    return okta_context(
        event,
        signs=signs(event),
        provider=event.deep_get("securityContext", "isp"),
    )
