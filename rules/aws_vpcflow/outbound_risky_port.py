"""An internal host connected to a service on the internet that a server has no business with."""

from margay_helpers import is_internal, is_internet

TCP = 6
RISKY_PORTS = {
    23: "Telnet",
    139: "NetBIOS",
    445: "SMB",
    3333: "mining pool",
    3389: "RDP",
    4444: "remote shell",
    6667: "IRC",
    9001: "Tor",
    14444: "mining pool",
}

# Below this port the sender is the server of the conversation and the record shows its answers.
FIRST_CLIENT_PORT = 32768


def rule(event):
    if event.get("action") != "ACCEPT" or event.get("protocol") != TCP:
        return False
    if event.get("dstPort") not in RISKY_PORTS or event.get("srcPort", 0) < FIRST_CLIENT_PORT:
        return False
    return is_internal(event.get("srcAddr")) and is_internet(event.get("dstAddr"))


def title(event):
    service = RISKY_PORTS[event["dstPort"]]
    return f"{event['srcAddr']} connects to the internet on port {event['dstPort']} ({service})"


def dedup(event):
    return f"{event.get('account')}:{event['srcAddr']}:{event['dstPort']}"


def alert_context(event):
    return {
        "source": event["srcAddr"],
        "destination": event["dstAddr"],
        "service": RISKY_PORTS[event["dstPort"]],
        "interface": event.get("interfaceId"),
        "account": event.get("account"),
        "bytes": event.get("bytes"),
        "start": event.get("start"),
    }
