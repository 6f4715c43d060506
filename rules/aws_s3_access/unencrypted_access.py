"""An object travelled over plain HTTP."""

from margay_helpers import is_public_bucket


def rule(event):
    # S3's own work, such as expiry, has no connection and therefore no TLS columns.
    if not event.get("operation", "").startswith("REST.") or "remoteip" not in event:
        return False
    # Old records end before the TLS columns; where the host header is present they are not cut off.
    if "hostheader" not in event or "tlsVersion" in event or "ciphersuite" in event:
        return False
    return 200 <= event.get("httpstatus", 0) < 300 and not is_public_bucket(event.get("bucket"))


def title(event):
    return f"Bucket {event['bucket']} is used over plain HTTP"


def dedup(event):
    return event["bucket"]


def severity(event):
    return "MEDIUM" if event["operation"].endswith(".OBJECT") else "DEFAULT"


def alert_context(event):
    return {
        "bucket": event["bucket"],
        "key": event.get("key"),
        "operation": event["operation"],
        "requester": event.get("requester", "anonymous"),
        "sourceIp": event["remoteip"],
        "userAgent": event.get("useragent"),
        "time": event.get("time"),
    }
