"""One caller was denied many different actions: it tries out what its credentials can do.

`unique` makes the threshold count distinct actions, so that one job with a missing permission, which
repeats the same call all day, stays silent.
"""

import re

from margay_helpers import aws_account, aws_actor, aws_context

DENIED = re.compile(r"AccessDenied|UnauthorizedOperation|NotAuthorized|Forbidden")


def rule(event):
    if not event.get("errorCode") or event.deep_get("userIdentity", "type") == "AWSService":
        return False
    return DENIED.search(event["errorCode"]) is not None


def title(event):
    return f"{aws_actor(event)} was denied many different actions in account {aws_account(event)}"


def dedup(event):
    return event.deep_get("userIdentity", "arn") or aws_actor(event)


def unique(event):
    return f"{event.get('eventSource', '')}:{event.get('eventName', '')}"


def alert_context(event):
    return aws_context(event, message=event.get("errorMessage"))
