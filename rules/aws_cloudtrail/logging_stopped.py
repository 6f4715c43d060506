"""CloudTrail was switched off, deleted, or told to record less."""

from margay_helpers import aws_account, aws_context, call_failed

STOPPING_CALLS = (
    "StopLogging",
    "DeleteTrail",
    "DeleteEventDataStore",
    "StopEventDataStoreIngestion",
)

# Settings of UpdateTrail that widen what is recorded; turning one off narrows it.
WIDENING_SETTINGS = ("isMultiRegionTrail", "includeGlobalServiceEvents", "enableLogFileValidation")


def narrowing(event):
    """What the call takes away, in words, or None when it takes nothing away."""
    name = event.get("eventName")
    request = event.get("requestParameters") or {}
    if name in STOPPING_CALLS:
        return "recording stopped"
    if name == "UpdateTrail":
        off = [setting for setting in WIDENING_SETTINGS if request.get(setting) is False]
        return f"{', '.join(off)} turned off" if off else None
    if name == "PutEventSelectors":
        for selector in request.get("eventSelectors") or []:
            if selector.get("includeManagementEvents") is False:
                return "management events dropped"
            if selector.get("readWriteType") == "ReadOnly":
                return "write events dropped"
    return None


def rule(event):
    if event.get("eventSource") != "cloudtrail.amazonaws.com" or call_failed(event):
        return False
    return narrowing(event) is not None


def trail_name(event):
    request = event.get("requestParameters") or {}
    name = request.get("name") or request.get("trailName") or request.get("eventDataStore") or "unknown"
    return name.rsplit("/", 1)[-1]


def title(event):
    return f"CloudTrail {trail_name(event)} in account {aws_account(event)}: {narrowing(event)}"


def dedup(event):
    return f"{aws_account(event)}:{trail_name(event)}"


def severity(event):
    return "DEFAULT" if event.get("eventName") in STOPPING_CALLS else "MEDIUM"


def runbook(event):
    actor = event.deep_get("userIdentity", "arn", default="the caller")
    return (
        f"Undo the change to {trail_name(event)} ({narrowing(event)}), then disable the credentials "
        f"of {actor} and review its calls of the last day. Calls made while the trail was off "
        f"are still in the event history of the CloudTrail console for 90 days, management events only."
    )


def alert_context(event):
    return aws_context(event, trail=trail_name(event), change=narrowing(event))
