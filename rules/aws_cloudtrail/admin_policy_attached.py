"""A user, group or role was given full administrative rights."""

import re

from margay_helpers import (
    allows_everything,
    aws_account,
    aws_actor,
    aws_context,
    call_failed,
    policy_statements,
)

ATTACHING_CALLS = ("AttachUserPolicy", "AttachGroupPolicy", "AttachRolePolicy")
WRITING_CALLS = ("PutUserPolicy", "PutGroupPolicy", "PutRolePolicy", "CreatePolicyVersion")
ADMIN_POLICY = re.compile(r"arn:aws[a-z-]*:iam::aws:policy/(AdministratorAccess|IAMFullAccess)$")


def rule(event):
    if event.get("eventSource") != "iam.amazonaws.com" or call_failed(event):
        return False
    request = event.get("requestParameters") or {}
    if event.get("eventName") in ATTACHING_CALLS:
        return ADMIN_POLICY.match(request.get("policyArn", "")) is not None
    if event.get("eventName") in WRITING_CALLS:
        return any(allows_everything(item) for item in policy_statements(request.get("policyDocument")))
    return False


def receiver(event):
    """Who or what has the rights now."""
    request = event.get("requestParameters") or {}
    for field, kind in (("userName", "user"), ("groupName", "group"), ("roleName", "role")):
        if request.get(field):
            return f"{kind} {request[field]}"
    return f"policy {request.get('policyArn', 'unknown').rsplit('/', 1)[-1]}"


def title(event):
    return f"{aws_actor(event)} gave admin rights to {receiver(event)} in account {aws_account(event)}"


def dedup(event):
    return f"{aws_account(event)}:{receiver(event)}"


def severity(event):
    # A caller that promotes itself has no reason that another administrator agreed to.
    own = event.deep_get("userIdentity", "userName")
    return "CRITICAL" if own and receiver(event) == f"user {own}" else "DEFAULT"


def alert_context(event):
    request = event.get("requestParameters") or {}
    return aws_context(
        event,
        receiver=receiver(event),
        policy=request.get("policyArn") or request.get("policyName"),
    )
