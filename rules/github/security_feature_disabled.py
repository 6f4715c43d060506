"""A security feature of an organisation or repository was switched off."""

from margay_helpers import github_actor, github_context

FEATURES = {
    "org.disable_two_factor_requirement": "the two-factor requirement",
    "org.disable_saml": "single sign-on",
    "business.disable_two_factor_requirement": "the two-factor requirement",
    "business.disable_saml": "single sign-on",
    "repository_secret_scanning.disable": "secret scanning",
    "repository_secret_scanning_push_protection.disable": "push protection",
    "repository_vulnerability_alerts.disable": "vulnerability alerts",
    "org.advanced_security_disabled_on_all_repos": "advanced security",
}

# They protect everybody in the organisation.
FOR_ALL = ("the two-factor requirement", "single sign-on")


def feature(event):
    return FEATURES.get(event.get("action"))


def rule(event):
    return feature(event) is not None


def where(event):
    return event.get("repo") or event.get("org") or event.get("business") or "GitHub"


def title(event):
    return f"{github_actor(event)} switched {feature(event)} of {where(event)} off"


def dedup(event):
    return f"{where(event)}:{feature(event)}"


def severity(event):
    return "HIGH" if feature(event) in FOR_ALL else "DEFAULT"


def alert_context(event):
    return github_context(event, feature=feature(event))
