"""One internet address had many different ports of one host rejected; `unique` counts the ports."""

from margay_helpers import is_internal, is_internet

# Late answers of ordinary servers are rejected too, at the short-lived ports of their clients.
SERVER_PORTS = {53, 80, 123, 443}
FIRST_CLIENT_PORT = 32768


def is_late_answer(event):
    return event.get("srcPort") in SERVER_PORTS and event["dstPort"] >= FIRST_CLIENT_PORT


def rule(event):
    if event.get("action") != "REJECT" or "dstPort" not in event:
        return False
    if not is_internet(event.get("srcAddr")) or not is_internal(event.get("dstAddr")):
        return False
    return not is_late_answer(event)


def title(event):
    return f"Port scan of {event['dstAddr']} by {event['srcAddr']}"


def dedup(event):
    return f"{event['srcAddr']}>{event['dstAddr']}"


def unique(event):
    return str(event["dstPort"])


def alert_context(event):
    return {
        "scanner": event["srcAddr"],
        "target": event["dstAddr"],
        "firstPort": event["dstPort"],
        "interface": event.get("interfaceId"),
        "account": event.get("account"),
        "start": event.get("start"),
    }
