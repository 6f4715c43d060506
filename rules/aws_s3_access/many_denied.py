"""One requester was denied many objects or buckets; `unique` counts what was asked for, not the requests."""


def requester(event):
    """The signed identity, or the address when there was none."""
    return event.get("requester") or f"anonymous at {event.get('remoteip', 'unknown address')}"


def rule(event):
    if event.get("httpstatus") != 403:
        return False
    # Lost signatures and clocks that are wrong give 403 too, but are nobody's curiosity.
    return event.get("errorcode", "AccessDenied") in ("AccessDenied", "AllAccessDisabled")


def title(event):
    return f"S3 denied many requests of {requester(event)}"


def dedup(event):
    return requester(event)


def unique(event):
    return f"{event.get('operation')} {event.get('bucket')}/{event.get('key', '')}"


def severity(event):
    # Strangers try names all day; an identity that is known has left its usual path.
    return "DEFAULT" if "requester" in event else "LOW"


def alert_context(event):
    return {
        "requester": requester(event),
        "sourceIp": event.get("remoteip"),
        "bucket": event.get("bucket"),
        "key": event.get("key"),
        "operation": event.get("operation"),
        "userAgent": event.get("useragent"),
        "time": event.get("time"),
    }
