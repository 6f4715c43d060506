"""A file in Drive was opened to everybody who has, or finds, the link."""

from margay_helpers import workspace_actor, workspace_context

SHARING_EVENTS = ("change_document_visibility", "change_document_access_scope")
OPEN = ("people_with_link", "public_on_the_web")


def rule(event):
    if event.deep_get("id", "applicationName") != "drive" or event.get("name") not in SHARING_EVENTS:
        return False
    return event.deep_get("parameters", "visibility") in OPEN


def document(event):
    return event.deep_get("parameters", "doc_title", default="a file")


def title(event):
    return f"{workspace_actor(event)} opened \"{document(event)}\" to everybody"


def dedup(event):
    # Somebody who opens a folder opens all that is in it.
    return workspace_actor(event)


def severity(event):
    return "MEDIUM" if event.deep_get("parameters", "visibility") == "public_on_the_web" else "DEFAULT"


def alert_context(event):
    return workspace_context(
        event,
        document=document(event),
        owner=event.deep_get("parameters", "owner"),
        link=f"https://drive.google.com/open?id={event.deep_get('parameters', 'doc_id', default='')}",
    )
