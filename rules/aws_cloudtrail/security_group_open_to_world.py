"""A security group now admits the whole internet to a port that is meant for administrators."""

from margay_helpers import (
    SANDBOX_ACCOUNTS,
    as_list,
    aws_account,
    aws_context,
    call_failed,
    covers_everything,
)

ADMIN_PORTS = {
    22: "SSH",
    23: "Telnet",
    135: "RPC",
    445: "SMB",
    1433: "SQL Server",
    2375: "Docker",
    3306: "MySQL",
    3389: "RDP",
    5432: "PostgreSQL",
    5900: "VNC",
    5985: "WinRM",
    6379: "Redis",
    9200: "Elasticsearch",
    27017: "MongoDB",
}
CALLS = ("AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules")


def ingress_rules(event):
    """The rules of the call as (protocol, first port, last port, networks)."""
    request = event.get("requestParameters") or {}
    for permission in as_list(event.deep_get("requestParameters", "ipPermissions", "items")):
        networks = [item.get("cidrIp") for item in as_list(permission.deep_get("ipRanges", "items"))]
        networks += [item.get("cidrIpv6") for item in as_list(permission.deep_get("ipv6Ranges", "items"))]
        yield (
            permission.get("ipProtocol"),
            permission.get("fromPort"),
            permission.get("toPort"),
            networks,
        )
    if "cidrIp" in request:
        yield (
            request.get("ipProtocol"),
            request.get("fromPort"),
            request.get("toPort"),
            [request["cidrIp"]],
        )
    changes = event.deep_get("requestParameters", "ModifySecurityGroupRulesRequest", "SecurityGroupRule")
    for change in as_list(changes):
        new = change.get("SecurityGroupRule") or {}
        networks = [new.get("CidrIpv4"), new.get("CidrIpv6")]
        yield new.get("IpProtocol"), new.get("FromPort"), new.get("ToPort"), networks


def exposed_ports(event):
    """The admin ports the call opens to a network of prefix length 0."""
    exposed = set()
    for protocol, first, last, networks in ingress_rules(event):
        if not any(network and covers_everything(network) for network in networks):
            continue
        if str(protocol) == "-1":
            exposed.update(ADMIN_PORTS)
        elif str(protocol) in ("tcp", "6") and first is not None and last is not None:
            exposed.update(port for port in ADMIN_PORTS if int(first) <= port <= int(last))
    return sorted(exposed)


def rule(event):
    if event.get("eventName") not in CALLS or call_failed(event):
        return False
    return len(exposed_ports(event)) > 0


def group_id(event):
    request = event.get("requestParameters") or {}
    modified = event.deep_get("requestParameters", "ModifySecurityGroupRulesRequest", "GroupId")
    return request.get("groupId") or request.get("groupName") or modified or "unknown group"


def title(event):
    ports = exposed_ports(event)
    names = ", ".join(f"{ADMIN_PORTS[port]} ({port})" for port in ports[:3])
    more = f" and {len(ports) - 3} more" if len(ports) > 3 else ""
    return f"Security group {group_id(event)} opens {names}{more} to the internet"


def dedup(event):
    return f"{aws_account(event)}:{group_id(event)}"


def severity(event):
    return "LOW" if aws_account(event) in SANDBOX_ACCOUNTS else "DEFAULT"


def destinations(event):
    return [] if aws_account(event) in SANDBOX_ACCOUNTS else None


def alert_context(event):
    return aws_context(event, securityGroup=group_id(event), ports=exposed_ports(event))
