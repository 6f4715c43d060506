"""Somebody signed in to the console as the root user of an account."""

from margay_helpers import aws_account, aws_context


def rule(event):
    if event.get("eventName") != "ConsoleLogin":
        return False
    if event.deep_get("userIdentity", "type") != "Root":
        return False
    return event.deep_get("responseElements", "ConsoleLogin") == "Success"


def used_mfa(event):
    return event.deep_get("additionalEventData", "MFAUsed") == "Yes"


def title(event):
    how = "with MFA" if used_mfa(event) else "without MFA"
    return f"Root signed in to account {aws_account(event)} {how}"


def dedup(event):
    return f"{aws_account(event)}:{event.get('sourceIPAddress')}"


def severity(event):
    return "DEFAULT" if used_mfa(event) else "CRITICAL"


def alert_context(event):
    return aws_context(event, mfa=used_mfa(event))
