"""An IAM user signed in to the console with a password alone.

Federated sign-ins are left out: their second factor is checked by the identity provider, and the record
says `MFAUsed: No` for them whatever happened there.
"""

from margay_helpers import aws_account, aws_actor, aws_context, is_office


def rule(event):
    if event.get("eventName") != "ConsoleLogin":
        return False
    if event.deep_get("userIdentity", "type") != "IAMUser":
        return False
    if event.deep_get("responseElements", "ConsoleLogin") != "Success":
        return False
    data = event.get("additionalEventData", {})
    return data.get("MFAUsed") == "No" and "SamlProviderArn" not in data


def title(event):
    return f"{aws_actor(event)} signed in to account {aws_account(event)} without MFA"


def dedup(event):
    return event.deep_get("userIdentity", "arn", default=aws_actor(event))


def severity(event):
    return "DEFAULT" if is_office(event.get("sourceIPAddress")) else "HIGH"


def alert_context(event):
    return aws_context(event, fromOffice=is_office(event.get("sourceIPAddress")))
