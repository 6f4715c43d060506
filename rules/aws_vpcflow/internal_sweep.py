"""An internal host was rejected by many other internal hosts on one port; `unique` counts the hosts."""

from margay_helpers import is_internal


def rule(event):
    if event.get("action") != "REJECT" or event.get("dstPort") is None:
        return False
    source, target = event.get("srcAddr"), event.get("dstAddr")
    return source != target and is_internal(source) and is_internal(target)


def title(event):
    return f"{event['srcAddr']} sweeps the internal network for port {event['dstPort']}"


def dedup(event):
    return f"{event.get('account')}:{event['srcAddr']}:{event['dstPort']}"


def unique(event):
    return event["dstAddr"]


def alert_context(event):
    return {
        "scanner": event["srcAddr"],
        "port": event["dstPort"],
        "firstTarget": event["dstAddr"],
        "interface": event.get("interfaceId"),
        "account": event.get("account"),
        "start": event.get("start"),
    }
