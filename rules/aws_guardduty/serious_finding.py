"""GuardDuty reports a finding of medium or higher severity."""

from margay_helpers import plain

# GuardDuty's own scale: from 4 medium, from 7 high, from 9 critical.
FROM_SEVERITY = 4

# Finding types that GuardDuty generates for its sample findings and that nobody should be woken for.
SAMPLE_TITLE = "[SAMPLE]"


def rule(event):
    if event.get("title", "").startswith(SAMPLE_TITLE) or event.deep_get("service", "archived", default=False):
        return False
    return event.get("severity", 0) >= FROM_SEVERITY


def title(event):
    return f"GuardDuty in account {event.get('accountId')}: {event.get('title') or event.get('type')}"


def dedup(event):
    # A finding is updated as it goes on; each update is another event under the same id.
    return event.get("id", "")


def severity(event):
    value = event.get("severity", 0)
    if value >= 9:
        return "CRITICAL"
    if value >= 7:
        return "HIGH"
    return "MEDIUM"


def description(event):
    return event.get("description", "")


def reference(event):
    region = event.get("region")
    console = f"https://{region}.console.aws.amazon.com/guardduty/home?region={region}"
    return f"{console}#/findings?search=id%3D{event.get('id')}"


def alert_context(event):
    return {
        "type": event.get("type"),
        "account": event.get("accountId"),
        "region": event.get("region"),
        "resourceType": event.deep_get("resource", "resourceType"),
        "count": event.deep_get("service", "count"),
        "firstSeen": event.deep_get("service", "eventFirstSeen"),
        "lastSeen": event.deep_get("service", "eventLastSeen"),
        "action": plain(event.deep_get("service", "action", default={})),
    }
