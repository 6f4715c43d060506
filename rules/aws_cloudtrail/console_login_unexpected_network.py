"""A console sign-in came from an internet address outside the office and VPN networks."""

from margay_helpers import (
    OFFICE_NETWORKS,
    aws_account,
    aws_actor,
    aws_context,
    is_internet,
    is_office,
)


def rule(event):
    if event.get("eventName") != "ConsoleLogin" or not OFFICE_NETWORKS:
        return False
    if event.deep_get("responseElements", "ConsoleLogin") != "Success":
        return False
    address = event.get("sourceIPAddress")
    return is_internet(address) and not is_office(address)


def used_mfa(event):
    return event.deep_get("additionalEventData", "MFAUsed") == "Yes"


def title(event):
    return f"{aws_actor(event)} signed in to account {aws_account(event)} from an unknown network"


def dedup(event):
    return f"{aws_actor(event)}:{event['sourceIPAddress']}"


def severity(event):
    return "INFO" if used_mfa(event) else "DEFAULT"


def destinations(event):
    # With a second factor it is most likely somebody who travels: keep it on record, call nobody.
    return [] if used_mfa(event) else None


def alert_context(event):
    return aws_context(event, mfa=used_mfa(event), knownNetworks=OFFICE_NETWORKS)
