"""The protection of a branch was removed, weakened or bypassed."""

from margay_helpers import github_actor, github_context

# What each action means for the branch.
WEAKENING = {
    "protected_branch.destroy": "removed",
    "protected_branch.policy_override": "bypassed",
    "repository_ruleset.destroy": "removed",
}

SWITCHED_OFF = ("disabled", "evaluate")


def weakening(event):
    """What became of the protection, or None."""
    action = event.get("action")
    if action == "repository_ruleset.update":
        off = event.get("ruleset_old_enforcement") == "enabled" and event.get("ruleset_enforcement") in SWITCHED_OFF
        return "switched off" if off else None
    return WEAKENING.get(action)


def rule(event):
    return weakening(event) is not None


def where(event):
    return event.get("repo") or event.get("org") or "GitHub"


def title(event):
    return f"Branch protection of {where(event)} was {weakening(event)} by {github_actor(event)}"


def dedup(event):
    return f"{where(event)}:{github_actor(event)}"


def severity(event):
    return "LOW" if weakening(event) == "bypassed" else "DEFAULT"


def alert_context(event):
    return github_context(
        event,
        change=weakening(event),
        branch=event.get("branch"),
        ruleset=event.get("ruleset_name"),
    )
