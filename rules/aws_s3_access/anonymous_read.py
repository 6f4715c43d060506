"""An object was read, or a bucket listed, by somebody who did not sign in."""

from margay_helpers import is_internal, is_public_bucket

READING_OPERATIONS = ("REST.GET.OBJECT", "REST.GET.BUCKET", "REST.COPY.OBJECT_GET")


def rule(event):
    if event.get("operation") not in READING_OPERATIONS:
        return False
    # Absent, not empty: the log shows `-` for a request without a signature.
    if "requester" in event or event.get("httpstatus") not in (200, 206):
        return False
    return not is_public_bucket(event.get("bucket")) and not is_internal(event.get("remoteip"))


def title(event):
    return f"Anonymous read from bucket {event['bucket']}"


def dedup(event):
    return event["bucket"]


def severity(event):
    # Who can list a bucket can find everything else in it.
    return "HIGH" if event["operation"] == "REST.GET.BUCKET" else "DEFAULT"


def alert_context(event):
    return {
        "bucket": event["bucket"],
        "key": event.get("key"),
        "operation": event["operation"],
        "sourceIp": event.get("remoteip"),
        "bytesSent": event.get("bytessent", 0),
        "userAgent": event.get("useragent"),
        "time": event.get("time"),
    }
