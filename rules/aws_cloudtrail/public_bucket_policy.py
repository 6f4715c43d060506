"""A bucket policy was set that lets everybody in."""

from margay_helpers import (
    allows_everybody,
    as_list,
    aws_context,
    call_failed,
    is_public_bucket,
    policy_statements,
)


def open_statements(event):
    document = event.deep_get("requestParameters", "bucketPolicy")
    return [item for item in policy_statements(document) if allows_everybody(item)]


def bucket_name(event):
    return event.deep_get("requestParameters", "bucketName", default="unknown bucket")


def open_actions(event):
    # A statement with NotAction instead of Action allows nearly everything.
    return sorted({action for item in open_statements(event) for action in as_list(item.get("Action", "*"))})


def rule(event):
    if event.get("eventName") != "PutBucketPolicy" or call_failed(event):
        return False
    return not is_public_bucket(bucket_name(event)) and len(open_statements(event)) > 0


def title(event):
    return f"Bucket {bucket_name(event)} was opened to everybody"


def severity(event):
    # s3:GetObject is bad; anything that changes objects or the bucket is worse.
    reading = ("s3:Get", "s3:List")
    return "DEFAULT" if all(action.startswith(reading) for action in open_actions(event)) else "CRITICAL"


def alert_context(event):
    return aws_context(event, bucket=bucket_name(event), actions=open_actions(event))
