"""What several of the shipped rules need: networks, CloudTrail callers, IAM policies, actors of other services.

The settings of a site stand first, in capitals; nothing below them needs editing. The helpers only read
the event, remember nothing but parsed addresses, and never raise on a field that is missing.
"""

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

# Accounts of the own organisation. Sharing with one of them is not treated as giving data away.
TRUSTED_ACCOUNTS = {"111122223333", "444455556666"}

# Accounts for experiments: their alerts are kept but not delivered by the rules that ask for it.
SANDBOX_ACCOUNTS = {"444455556666"}

# Where people of the organisation sign in from: office and VPN egress. Empty means "not known".
OFFICE_NETWORKS = ["192.0.2.0/24"]

# Buckets that are meant to be read by everybody, as shell patterns.
PUBLIC_BUCKETS = ["margay-demo-website*"]

# Not `ipaddress.is_private`: that also covers ranges which are merely reserved, such as the
# documentation networks, and its answer has changed between Python releases.
INTERNAL_NETWORKS = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
]

_INTERNAL = [ipaddress.ip_network(text) for text in INTERNAL_NETWORKS]
_OFFICE = [ipaddress.ip_network(text) for text in OFFICE_NETWORKS]

# Condition keys that tie an "everybody" statement to a known caller or network.
_NARROWING_KEYS = re.compile(
    r"aws:(sourceip|sourcevpc|sourcevpce|sourcearn|sourceaccount|sourceorgid"
    r"|principalorgid|principalaccount|principalarn)",
    re.IGNORECASE,
)
_ACCOUNT_ID = re.compile(r"(?<!\d)\d{12}(?!\d)")


# Networks


@lru_cache(maxsize=8192)
def parse_address(text):
    """The address written in `text`, or None. CloudTrail puts service names where addresses go."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@lru_cache(maxsize=8192)
def is_internal(text):
    """True for an address of a private, shared, loopback or link-local network."""
    address = parse_address(text)
    return address is not None and any(address in network for network in _INTERNAL)


@lru_cache(maxsize=8192)
def is_internet(text):
    """True for an address that can only be reached over the internet."""
    address = parse_address(text)
    if address is None or address.is_multicast or address.is_unspecified:
        return False
    return str(address) != "255.255.255.255" and not is_internal(text)


def is_office(text):
    """True for an address of OFFICE_NETWORKS."""
    address = parse_address(text)
    return address is not None and any(address in network for network in _OFFICE)


def covers_everything(cidr):
    """True for a network of prefix length 0, however it is spelled."""
    try:
        return ipaddress.ip_network(cidr, strict=False).prefixlen == 0
    except ValueError:
        return False


# Values


def as_list(value):
    """None becomes [], a sequence a plain list, anything else a list of one."""
    if value is None:
        return []
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return list(value)
    return [value]


def plain(value):
    """A deep copy in plain dicts and lists, fit for an alert context."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return value


def is_public_bucket(bucket):
    """True for a bucket of PUBLIC_BUCKETS."""
    return any(fnmatchcase(bucket or "", pattern) for pattern in PUBLIC_BUCKETS)


# CloudTrail


def call_failed(event):
    """True when the API answered the call with an error."""
    return bool(event.get("errorCode") or event.get("errorMessage"))


def aws_account(event):
    """The account the call was made in."""
    return event.get("recipientAccountId") or event.deep_get("userIdentity", "accountId") or "unknown account"


def aws_actor(event):
    """A short name of the caller: user name, Role/session, service, or root."""
    kind = event.deep_get("userIdentity", "type", default="")
    arn = event.deep_get("userIdentity", "arn", default="")
    if kind == "Root":
        return "root"
    if ":assumed-role/" in arn:
        return arn.split(":assumed-role/", 1)[1]
    for field in ("userName", "invokedBy", "arn", "principalId", "accountId"):
        value = event.deep_get("userIdentity", field)
        if value:
            return value
    return "unknown caller"


def aws_context(event, **more):
    """The facts every CloudTrail alert carries, plus those of the rule."""
    context = {
        "action": f"{event.get('eventSource', '')}:{event.get('eventName', '')}",
        "account": aws_account(event),
        "region": event.get("awsRegion"),
        "actor": aws_actor(event),
        "actorArn": event.deep_get("userIdentity", "arn"),
        "sourceIp": event.get("sourceIPAddress"),
        "userAgent": event.get("userAgent"),
        "time": event.get("eventTime"),
    }
    if call_failed(event):
        context["error"] = event.get("errorCode") or event.get("errorMessage")
    context.update({key: plain(value) for key, value in more.items()})
    return context


# IAM policies


def policy_statements(document):
    """The statements of a policy given as JSON text or as a mapping; [] when it cannot be read."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return []
    if not isinstance(document, Mapping):
        return []
    return [item for item in as_list(document.get("Statement")) if isinstance(item, Mapping)]


def aws_principals(statement):
    """The AWS principals of a statement; `*` stands for everybody."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        principal = principal.get("AWS")
    return [str(item) for item in as_list(principal)]


def is_narrowed(statement):
    """True when a condition ties the statement to callers or networks that can be named."""
    conditions = statement.get("Condition")
    if not isinstance(conditions, Mapping):
        return False
    for operator, test in conditions.items():
        # A negated test excludes somebody; everybody else still gets in.
        if "Not" in operator or operator == "Null" or not isinstance(test, Mapping):
            continue
        for key, value in test.items():
            values = as_list(value)
            wide = any(item == "*" or covers_everything(item) for item in values)
            if _NARROWING_KEYS.fullmatch(key) and values and not wide:
                return True
    return False


def allows_everybody(statement):
    """True when a statement lets any caller in. Allowing all but some counts as well."""
    if statement.get("Effect") != "Allow" or is_narrowed(statement):
        return False
    return "*" in aws_principals(statement) or "NotPrincipal" in statement


def allows_everything(statement):
    """True when a statement allows every action on every resource."""
    return (
        statement.get("Effect") == "Allow"
        and any(action in ("*", "*:*") for action in as_list(statement.get("Action")))
        and "*" in as_list(statement.get("Resource"))
    )


def foreign_accounts(texts, own):
    """Account ids in ARNs or plain ids that belong neither to `own` nor to TRUSTED_ACCOUNTS."""
    found = {account for text in texts for account in _ACCOUNT_ID.findall(str(text))}
    return sorted(found - TRUSTED_ACCOUNTS - {own})


# Okta


def okta_actor(event):
    """The login name of the actor, or the best name there is."""
    return (
        event.deep_get("actor", "alternateId")
        or event.deep_get("actor", "displayName")
        or event.deep_get("actor", "id")
        or "unknown actor"
    )


def okta_target_name(target):
    """The login name of a user, the display name of anything else."""
    # Okta fills `alternateId` of other things with "unknown" or the id of their parent.
    fields = ("alternateId", "displayName") if target.get("type") == "User" else ("displayName",)
    names = [target.get(field) for field in (*fields, "id")]
    return next((name for name in names if name and name != "unknown"), "unnamed")


def okta_targets(event, *kinds):
    """Names of the targets of these types, in the order of the log; all targets without types."""
    return [
        okta_target_name(target)
        for target in event.get("target") or []
        if not kinds or target.get("type") in kinds
    ]


def okta_place(event):
    """City and country of the client, as far as Okta knows them."""
    city = event.deep_get("client", "geographicalContext", "city")
    country = event.deep_get("client", "geographicalContext", "country")
    return ", ".join(part for part in (city, country) if part) or "unknown place"


def okta_context(event, **more):
    """The facts every Okta alert carries, plus those of the rule."""
    context = {
        "eventType": event.get("eventType"),
        "message": event.get("displayMessage"),
        "actor": okta_actor(event),
        "targets": okta_targets(event),
        "result": event.deep_get("outcome", "result"),
        "reason": event.deep_get("outcome", "reason"),
        "sourceIp": event.deep_get("client", "ipAddress"),
        "place": okta_place(event),
        "userAgent": event.deep_get("client", "userAgent", "rawUserAgent"),
        "time": event.get("published"),
    }
    context.update({key: plain(value) for key, value in more.items()})
    return context


# Google Workspace


def workspace_actor(event):
    """The address of who acted, or the name of the robot."""
    return event.deep_get("actor", "email") or event.deep_get("actor", "key") or "unknown actor"


def workspace_context(event, **more):
    """The facts every Google Workspace alert carries, plus those of the rule."""
    context = {
        "application": event.deep_get("id", "applicationName"),
        "event": event.get("name"),
        "actor": workspace_actor(event),
        "sourceIp": event.get("ipAddress"),
        "parameters": plain(event.get("parameters") or {}),
        "time": event.deep_get("id", "time"),
    }
    context.update({key: plain(value) for key, value in more.items()})
    return context


# GitHub


def github_actor(event):
    """The login of who acted, or the app that did."""
    return event.get("actor") or event.get("integration") or "unknown actor"


def github_context(event, **more):
    """The facts every GitHub alert carries, plus those of the rule."""
    context = {
        "action": event.get("action"),
        "actor": github_actor(event),
        "organization": event.get("org"),
        "repository": event.get("repo"),
        "sourceIp": event.get("actor_ip"),
        "userAgent": event.get("user_agent"),
        "token": event.get("programmatic_access_type"),
        "time": event.get("at_sign_timestamp"),
    }
    context.update({key: plain(value) for key, value in more.items()})
    return context


# Kubernetes


def kubernetes_actor(event):
    """The user of the request, behind the one it was impersonated as."""
    return event.deep_get("user", "username") or "unknown user"


def kubernetes_allowed(event):
    """True when the API server let the request through and answered it without an error."""
    code = event.deep_get("responseStatus", "code", default=0)
    return event.deep_get("annotations", "authorization.k8s.io/decision", default="allow") == "allow" and code < 400


def kubernetes_object(event):
    """What the request was about, as namespace/resource/name."""
    reference = event.get("objectRef") or {}
    parts = (reference.get("namespace"), reference.get("resource"), reference.get("name"))
    return "/".join(part for part in parts if part) or event.get("requestURI") or "the cluster"


def kubernetes_context(event, **more):
    """The facts every Kubernetes alert carries, plus those of the rule."""
    context = {
        "verb": event.get("verb"),
        "object": kubernetes_object(event),
        "actor": kubernetes_actor(event),
        "actorArn": event.deep_get("user", "extra", "arn", default=[None])[0],
        "sourceIps": plain(event.get("sourceIPs") or []),
        "userAgent": event.get("userAgent"),
        "request": event.get("requestURI"),
        "time": event.get("requestReceivedTimestamp"),
    }
    context.update({key: plain(value) for key, value in more.items()})
    return context
