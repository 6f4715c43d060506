"""A bucket was deleted."""

from fnmatch import fnmatch

# Buckets that come and go with test stacks, as shell patterns.
SHORT_LIVED_BUCKETS = ["*-ci-*", "*-preview-*"]


def rule(event):
    if event.get("operation") != "REST.DELETE.BUCKET" or event.get("httpstatus") != 204:
        return False
    return not any(fnmatch(event["bucket"], pattern) for pattern in SHORT_LIVED_BUCKETS)


def title(event):
    return f"Bucket {event['bucket']} was deleted by {event.get('requester', 'an unknown requester')}"


def alert_context(event):
    return {
        "bucket": event["bucket"],
        "requester": event.get("requester"),
        "sourceIp": event.get("remoteip"),
        "userAgent": event.get("useragent"),
        "time": event.get("time"),
    }
