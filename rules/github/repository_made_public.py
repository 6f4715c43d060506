"""A repository that was private can now be read by everybody."""

from fnmatch import fnmatchcase

from margay_helpers import github_actor, github_context

# Repositories that may be public, as shell patterns.
PUBLIC_REPOSITORIES = ["example-org/website", "*/.github"]


def rule(event):
    if event.get("action") not in ("repo.access", "repo.create") or event.get("visibility") != "public":
        return False
    return not any(fnmatchcase(event.get("repo") or "", pattern) for pattern in PUBLIC_REPOSITORIES)


def title(event):
    what = "made" if event.get("action") == "repo.access" else "created"
    return f"{github_actor(event)} {what} the public repository {event.get('repo')}"


def dedup(event):
    return event.get("repo") or ""


def severity(event):
    # What is new has no history that could leak.
    return "DEFAULT" if event.get("action") == "repo.access" else "MEDIUM"


def alert_context(event):
    return github_context(event, visibility=event.get("visibility"))
