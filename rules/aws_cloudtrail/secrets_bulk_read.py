"""One caller read many different secrets; `unique` makes the threshold count secrets, not calls."""

from margay_helpers import aws_account, aws_actor, aws_context, call_failed

READING_CALLS = ("GetSecretValue", "BatchGetSecretValue")


def rule(event):
    if event.get("eventSource") != "secretsmanager.amazonaws.com":
        return False
    if event.get("eventName") not in READING_CALLS or call_failed(event):
        return False
    # Services read secrets on behalf of their owner, at a pace of their own.
    return event.deep_get("userIdentity", "invokedBy") is None


def secret_name(event):
    request = event.get("requestParameters") or {}
    return request.get("secretId") or "a batch of secrets"


def title(event):
    return f"{aws_actor(event)} reads many secrets in account {aws_account(event)}"


def dedup(event):
    return event.deep_get("userIdentity", "arn") or aws_actor(event)


def unique(event):
    return secret_name(event)


def alert_context(event):
    return aws_context(event, secret=secret_name(event))
