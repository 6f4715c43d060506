"""An internal host sent an unusual amount of data to one internet address within one flow record."""

from margay_helpers import is_internal, is_internet

GIB = 1024**3
LARGE = 1 * GIB
VERY_LARGE = 10 * GIB

# A host that answers from these ports serves its clients and is expected to send much.
SERVING_PORTS = {80, 443, 8080, 8443}

# Addresses that are meant to receive much, such as a backup provider.
KNOWN_RECEIVERS = set()


def receiver(event):
    return event.get("pktDstAddr") or event.get("dstAddr")


def rule(event):
    if event.get("action") != "ACCEPT" or event.get("bytes", 0) < LARGE:
        return False
    if event.get("srcPort") in SERVING_PORTS or receiver(event) in KNOWN_RECEIVERS:
        return False
    return is_internal(event.get("srcAddr")) and is_internet(receiver(event))


def gibibytes(event):
    return round(event["bytes"] / GIB, 1)


def title(event):
    return f"{event['srcAddr']} sent {gibibytes(event)} GiB to {receiver(event)}"


def dedup(event):
    return f"{event['srcAddr']}>{receiver(event)}"


def severity(event):
    return "HIGH" if event["bytes"] >= VERY_LARGE else "DEFAULT"


def description(event):
    return (
        f"The interface {event.get('interfaceId')} of account {event.get('account')} sent "
        f"{gibibytes(event)} GiB from {event['srcAddr']} to port {event.get('dstPort')} of "
        f"{receiver(event)} between {event.get('start')} and {event.get('end')} UTC."
    )


def alert_context(event):
    return {
        "sender": event["srcAddr"],
        "receiver": receiver(event),
        "port": event.get("dstPort"),
        "bytes": event["bytes"],
        "gibibytes": gibibytes(event),
        "interface": event.get("interfaceId"),
        "account": event.get("account"),
    }
