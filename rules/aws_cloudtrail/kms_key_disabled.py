"""A KMS key was scheduled for deletion or disabled: what it encrypts becomes unreadable."""

from margay_helpers import aws_account, aws_context, call_failed

CALLS = {
    "ScheduleKeyDeletion": "scheduled for deletion",
    "DisableKey": "disabled",
    "DeleteImportedKeyMaterial": "emptied of its imported material",
}


def key_id(event):
    """The id of the key without the ARN around it."""
    text = event.deep_get("requestParameters", "keyId") or event.deep_get("responseElements", "keyId")
    return (text or "unknown").rsplit("/", 1)[-1]


def rule(event):
    if event.get("eventSource") != "kms.amazonaws.com" or event.get("eventName") not in CALLS:
        return False
    return not call_failed(event)


def title(event):
    return f"KMS key {key_id(event)} in account {aws_account(event)} was {CALLS[event['eventName']]}"


def dedup(event):
    return key_id(event)


def severity(event):
    return "MEDIUM" if event.get("eventName") == "DisableKey" else "DEFAULT"


def reference(event):
    page = "enabling-keys" if event.get("eventName") == "DisableKey" else "deleting-keys"
    return f"https://docs.aws.amazon.com/kms/latest/developerguide/{page}.html"


def alert_context(event):
    return aws_context(
        event,
        keyId=key_id(event),
        pendingDays=event.deep_get("requestParameters", "pendingWindowInDays"),
        deletionDate=event.deep_get("responseElements", "deletionDate"),
    )
