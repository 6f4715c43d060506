"""GuardDuty was switched off, or accounts were taken out of its reach."""

from margay_helpers import aws_account, aws_context, call_failed

WEAKENING_CALLS = {
    "DeleteDetector": "detector deleted",
    "StopMonitoringMembers": "member accounts no longer monitored",
    "DisassociateMembers": "member accounts removed",
    "DeleteMembers": "member accounts removed",
    "DisassociateFromAdministratorAccount": "account left its administrator",
    "DisassociateFromMasterAccount": "account left its administrator",
    "DisableOrganizationAdminAccount": "organisation administrator removed",
    "DeletePublishingDestination": "export of findings removed",
}


def weakening(event):
    """What the call does to GuardDuty, or None when it does no harm."""
    name = event["eventName"]
    if name == "UpdateDetector":
        return "detector suspended" if event.deep_get("requestParameters", "enable") is False else None
    return WEAKENING_CALLS.get(name)


def rule(event):
    if event.get("eventSource") != "guardduty.amazonaws.com":
        return False
    return not call_failed(event) and weakening(event) is not None


def title(event):
    return f"GuardDuty in account {aws_account(event)}, {event.get('awsRegion')}: {weakening(event)}"


def dedup(event):
    return aws_account(event)


def severity(event):
    return "MEDIUM" if event["eventName"] == "DeletePublishingDestination" else "DEFAULT"


def alert_context(event):
    return aws_context(
        event,
        change=weakening(event),
        detector=event.deep_get("requestParameters", "detectorId"),
        members=event.deep_get("requestParameters", "accountIds", default=[]),
    )
