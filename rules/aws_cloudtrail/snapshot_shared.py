"""A disk, image or database snapshot was shared with everybody or with an account of strangers."""

from margay_helpers import as_list, aws_account, aws_context, call_failed, foreign_accounts

CALLS = {
    "ModifySnapshotAttribute": "createVolumePermission",
    "ModifyImageAttribute": "launchPermission",
    "ModifyDBSnapshotAttribute": None,
    "ModifyDBClusterSnapshotAttribute": None,
}


def receivers(event):
    """Account ids, or `all`, that the call adds."""
    permission = CALLS.get(event.get("eventName"))
    if permission is None:
        return [str(item) for item in as_list(event.deep_get("requestParameters", "valuesToAdd"))]
    items = as_list(event.deep_get("requestParameters", permission, "add", "items"))
    return [item.get("group") or item.get("userId") or "" for item in items]


def strangers(event):
    added = receivers(event)
    found = foreign_accounts(added, event.get("recipientAccountId"))
    return ["everybody"] + found if "all" in added else found


def rule(event):
    if event.get("eventName") not in CALLS or call_failed(event):
        return False
    return len(strangers(event)) > 0


def shared_item(event):
    request = event.get("requestParameters") or {}
    for field in ("snapshotId", "imageId", "dBSnapshotIdentifier", "dBClusterSnapshotIdentifier"):
        if field in request:
            return request[field]
    return "unknown snapshot"


def title(event):
    names = ", ".join(strangers(event))
    return f"{shared_item(event)} of account {aws_account(event)} was shared with {names}"


def dedup(event):
    return f"{aws_account(event)}:{','.join(strangers(event))}"


def severity(event):
    return "CRITICAL" if "everybody" in strangers(event) else "DEFAULT"


def alert_context(event):
    return aws_context(event, item=shared_item(event), sharedWith=strangers(event))
