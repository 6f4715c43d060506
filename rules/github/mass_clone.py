"""Somebody copies many repositories in a short time."""

from margay_helpers import github_actor, github_context

COPYING = ("git.clone", "repo.download_zip")


def rule(event):
    # Bots copy all day; people copy what they work on.
    return event.get("action") in COPYING and not event.get("actor_is_bot") and not event.get("repository_public")


def unique(event):
    return event.get("repo") or event.get("repository") or ""


def title(event):
    return f"{github_actor(event)} copied many private repositories of {event.get('org')}"


def dedup(event):
    return github_actor(event)


def alert_context(event):
    return github_context(event, protocol=event.get("transport_protocol_name"))
