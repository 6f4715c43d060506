"""A role may now be assumed by everybody or from an account of strangers."""

from margay_helpers import (
    allows_everybody,
    aws_account,
    aws_context,
    aws_principals,
    call_failed,
    foreign_accounts,
    policy_statements,
)

DOCUMENT_OF = {
    "CreateRole": "assumeRolePolicyDocument",
    "UpdateAssumeRolePolicy": "policyDocument",
}


def trust_statements(event):
    document = event.deep_get("requestParameters", DOCUMENT_OF[event["eventName"]])
    return [item for item in policy_statements(document) if item.get("Effect") == "Allow"]


def trusted_strangers(event):
    """`everybody` and foreign account ids that the trust policy lets in."""
    statements = trust_statements(event)
    principals = [text for item in statements for text in aws_principals(item)]
    found = foreign_accounts(principals, event.get("recipientAccountId"))
    return ["everybody"] + found if any(allows_everybody(item) for item in statements) else found


def rule(event):
    if event.get("eventName") not in DOCUMENT_OF or call_failed(event):
        return False
    return bool(trusted_strangers(event))


def role_name(event):
    return event.deep_get("requestParameters", "roleName", default="unknown role")


def title(event):
    strangers = ", ".join(trusted_strangers(event))
    return f"Role {role_name(event)} in account {aws_account(event)} can be assumed by {strangers}"


def dedup(event):
    return f"{aws_account(event)}:{role_name(event)}"


def severity(event):
    if "everybody" in trusted_strangers(event):
        return "CRITICAL"
    # An external id is the mark of a vendor that was let in on purpose.
    external_id = any("sts:ExternalId" in str(item.get("Condition")) for item in trust_statements(event))
    return "LOW" if external_id else "DEFAULT"


def description(event):
    return (
        f"The trust policy of {role_name(event)} names principals outside the organisation: "
        f"{', '.join(trusted_strangers(event))}. They can use every permission of the role."
    )


def alert_context(event):
    return aws_context(event, role=role_name(event), trusts=trusted_strangers(event))
