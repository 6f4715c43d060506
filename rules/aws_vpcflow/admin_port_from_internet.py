"""A connection from the internet to SSH or remote desktop was accepted."""

from margay_helpers import is_internal, is_internet, is_office

TCP = 6
ADMIN_PORTS = {22: "SSH", 3389: "RDP"}

# A handshake and a refused key exchange take fewer packets; more than that is a session.
SESSION_PACKETS = 30


def source(event):
    # Behind a NAT gateway or load balancer only the packet fields tell the true sender.
    return event.get("pktSrcAddr") or event.get("srcAddr")


def rule(event):
    if event.get("action") != "ACCEPT" or event.get("protocol") != TCP:
        return False
    if event.get("dstPort") not in ADMIN_PORTS:
        return False
    if not is_internet(source(event)) or is_office(source(event)):
        return False
    return is_internal(event.get("dstAddr"))


def title(event):
    service = ADMIN_PORTS[event["dstPort"]]
    return f"{service} from the internet accepted by {event['dstAddr']} (account {event.get('account')})"


def dedup(event):
    return f"{event.get('account')}:{event['dstAddr']}:{event['dstPort']}"


def severity(event):
    return "HIGH" if event.get("packets", 0) >= SESSION_PACKETS else "DEFAULT"


def alert_context(event):
    return {
        "source": source(event),
        "destination": event["dstAddr"],
        "service": ADMIN_PORTS[event["dstPort"]],
        "interface": event.get("interfaceId"),
        "instance": event.get("instanceId"),
        "packets": event.get("packets"),
        "bytes": event.get("bytes"),
        "start": event.get("start"),
    }
