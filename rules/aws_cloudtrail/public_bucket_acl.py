"""The ACL of a bucket or object was set to include everybody, or every AWS account."""

from margay_helpers import as_list, aws_context, call_failed, is_public_bucket

# What the two open groups mean: `AuthenticatedUsers` is any AWS account, not one's own users.
OPEN_GROUPS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": "everybody",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": "any AWS account",
}
OPEN_CANNED_ACLS = {
    "public-read": "everybody: READ",
    "public-read-write": "everybody: READ and WRITE",
    "authenticated-read": "any AWS account: READ",
}


def open_grants(event):
    """Every grant to an open group, such as `everybody: READ`."""
    request = event.get("requestParameters") or {}
    found = [OPEN_CANNED_ACLS[name] for name in as_list(request.get("x-amz-acl")) if name in OPEN_CANNED_ACLS]
    grants = event.deep_get("requestParameters", "AccessControlPolicy", "AccessControlList", "Grant")
    for grant in as_list(grants):
        group = OPEN_GROUPS.get(grant.deep_get("Grantee", "URI"))
        if group:
            found.append(f"{group}: {grant.get('Permission')}")
    return found


def bucket_name(event):
    return event.deep_get("requestParameters", "bucketName", default="unknown bucket")


def rule(event):
    if event.get("eventName") not in ("PutBucketAcl", "PutObjectAcl", "CreateBucket"):
        return False
    if call_failed(event) or is_public_bucket(bucket_name(event)):
        return False
    return bool(open_grants(event))


def title(event):
    key = event.deep_get("requestParameters", "key")
    what = f"Object {key} in bucket {bucket_name(event)}" if key else f"Bucket {bucket_name(event)}"
    return f"{what} was shared by ACL with {open_grants(event)[0]}"


def dedup(event):
    return bucket_name(event)


def severity(event):
    strong = any("WRITE" in grant or "FULL_CONTROL" in grant for grant in open_grants(event))
    return "CRITICAL" if strong else "DEFAULT"


def alert_context(event):
    return aws_context(
        event,
        bucket=bucket_name(event),
        key=event.deep_get("requestParameters", "key"),
        grants=open_grants(event),
    )
