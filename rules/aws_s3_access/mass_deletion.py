"""One requester deleted many objects of one bucket; `unique` counts the objects."""

from fnmatch import fnmatchcase

DELETING_OPERATIONS = ("REST.DELETE.OBJECT", "BATCH.DELETE.OBJECT")

# Keys that programs write and remove all day, as shell patterns.
TEMPORARY_KEYS = ["tmp/*", "_temporary/*", "*/_temporary/*", "*.lock"]


def rule(event):
    if event.get("operation") not in DELETING_OPERATIONS or event.get("httpstatus") != 204:
        return False
    return not any(fnmatchcase(event.get("key", ""), pattern) for pattern in TEMPORARY_KEYS)


def title(event):
    return f"{event.get('requester', 'Somebody unknown')} deletes many objects of bucket {event['bucket']}"


def dedup(event):
    return f"{event['bucket']}:{event.get('requester') or event.get('remoteip')}"


def unique(event):
    return f"{event.get('key')}?{event.get('versionid', '')}"


def severity(event):
    # Deleting a named version is for good; otherwise versioning may still have the object.
    return "CRITICAL" if "versionid" in event else "DEFAULT"


def alert_context(event):
    return {
        "bucket": event["bucket"],
        "requester": event.get("requester"),
        "sourceIp": event.get("remoteip"),
        "firstKey": event.get("key"),
        "userAgent": event.get("useragent"),
        "time": event.get("time"),
    }
