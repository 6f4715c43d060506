"""Actions with wildcards as all actions that they stand for, and back to the shortest wildcards."""

import copy
import fnmatch

from policyuniverse.actions import SERVICES
from policyuniverse.statement import as_list


def _matching(action):
    """What stands for nothing that is known stands for itself."""
    service, _, name = action.lower().partition(":")
    if "*" in service or "?" in service or "[" in service:
        known = (f"{service}:{name}" for service, names in SERVICES.items() for name in names)
        found = known if action == "*" else fnmatch.filter(known, action.lower())
    elif name == "*":
        found = (f"{service}:{name}" for name in SERVICES.get(service, ()))
    else:
        found = (f"{service}:{found}" for found in fnmatch.filter(SERVICES.get(service, ()), name))
    return set(found) or {action.lower()}


def _expanded(actions):
    return set().union(*map(_matching, as_list(actions)))


def get_actions_from_statement(statement):
    allowed = _expanded(statement.get("Action", []))
    excepted = _expanded(statement.get("NotAction", []))
    if excepted:
        known = {f"{service}:{name}" for service, names in SERVICES.items() for name in names}
        allowed |= known - excepted
    return allowed


def expand_policy(policy=None, expand_deny=False):
    """A copy in which statements name every action that they stand for."""
    expanded = copy.deepcopy(policy)
    expanded["Statement"] = as_list(expanded["Statement"])
    for statement in expanded["Statement"]:
        if statement["Effect"].lower() == "deny" and not expand_deny:
            continue
        statement["Action"] = sorted(get_actions_from_statement(statement))
        statement.pop("NotAction", None)
    return expanded


def minimize_statement_actions(statement, minchars=None):
    """The shortest wildcards that stand for the actions of a statement and for no others."""
    if statement["Effect"] != "Allow":
        raise Exception("only statements that allow something can be minimized")
    by_service = {}
    for action in _expanded(statement["Action"]):
        service, _, name = action.partition(":")
        if name not in SERVICES.get(service, ()):
            raise Exception(f"the action is not known: {action}")
        by_service.setdefault(service, set()).add(name)
    minimized = set()
    for service, wanted in by_service.items():
        others = SERVICES[service].keys() - wanted
        taken = {name[:length] for name in others for length in range(len(name) + 1)}
        minimized.update(f"{service}:{_shortest(name, wanted, taken, int(minchars or 0))}" for name in wanted)
    return sorted(minimized)


def _shortest(name, wanted, taken, minchars):
    for length in range(len(name)):
        start = name[:length]
        if start not in taken and (length == 0 or length >= minchars):
            return start if start in wanted else f"{start}*"
    return name


def minimize_policy(policy=None, minchars=None):
    for statement in policy["Statement"]:
        statement["Action"] = minimize_statement_actions(statement, minchars=minchars)
    return policy
