"""Google blocked or doubted a sign-in."""

from margay_helpers import workspace_actor, workspace_context

DOUBTS = {
    "suspicious_login": "HIGH",
    "suspicious_login_less_secure_app": "HIGH",
    "suspicious_programmatic_login": "HIGH",
    "gov_attack_warning": "CRITICAL",
    "account_disabled_hijacked": "CRITICAL",
    "account_disabled_password_leak": "HIGH",
}


def rule(event):
    return event.deep_get("id", "applicationName") == "login" and event.get("name") in DOUBTS


def account(event):
    # For what Google does to an account, that is named in the parameters.
    return event.deep_get("parameters", "affected_email_address") or workspace_actor(event)


def title(event):
    return f"Google doubts the sign-in of {account(event)}: {event.get('name').replace('_', ' ')}"


def dedup(event):
    return account(event)


def severity(event):
    return DOUBTS[event.get("name")]


def alert_context(event):
    return workspace_context(event, account=account(event))
