"""A person changed something from a network that is known, and known not to be for work."""

from margay_helpers import aws_account, aws_actor, aws_context

# As known_networks has it under the selector sourceIPAddress.
NETWORK = ("p_enrichment", "known_networks", "sourceIPAddress")


def rule(event):
    if event.deep_get(*NETWORK, "trust") != "untrusted":
        return False
    return event.get("readOnly") is not True and not event.get("errorCode")


def network(event):
    return event.deep_get(*NETWORK, "name", default="an untrusted network")


def title(event):
    return f"{aws_actor(event)} changes account {aws_account(event)} from {network(event)}"


def dedup(event):
    return f"{aws_actor(event)}:{network(event)}"


def severity(event):
    return "HIGH" if event.deep_get("userIdentity", "type") == "Root" else "DEFAULT"


def alert_context(event):
    return aws_context(event, network=event.deep_get(*NETWORK))
