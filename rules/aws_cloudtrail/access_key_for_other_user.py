"""An access key was made for somebody other than the caller."""

from margay_helpers import aws_account, aws_actor, aws_context, call_failed

# Roles whose work is to hand out keys, as role names.
PROVISIONING_ROLES = {"KeyRotation"}


def key_owner(event):
    """The user the key belongs to; None when the record does not say."""
    return event.deep_get("responseElements", "accessKey", "userName") or event.deep_get(
        "requestParameters", "userName"
    )


def rule(event):
    if event.get("eventName") != "CreateAccessKey" or call_failed(event):
        return False
    owner = key_owner(event)
    if not owner or owner == event.deep_get("userIdentity", "userName"):
        return False
    role = event.deep_get("userIdentity", "sessionContext", "sessionIssuer", "userName")
    return role not in PROVISIONING_ROLES


def title(event):
    return f"{aws_actor(event)} created an access key for {key_owner(event)} in account {aws_account(event)}"


def dedup(event):
    return event.deep_get("userIdentity", "arn") or aws_actor(event)


def alert_context(event):
    return aws_context(
        event,
        keyOwner=key_owner(event),
        accessKeyId=event.deep_get("responseElements", "accessKey", "accessKeyId"),
    )
