"""One statement of a policy: whom it lets in, and whether that is everybody.

Conditions narrow a statement only with a positive operator over a key that names callers or networks.
"""

import re
from collections import namedtuple
from collections.abc import Mapping, Sequence

PrincipalTuple = namedtuple("Principal", "category value")
ConditionTuple = namedtuple("Condition", "category value")

# Keys of conditions that say who or where a caller is.
CATEGORIES = {
    "aws:principalaccount": "account",
    "aws:principalarn": "arn",
    "aws:principalorgid": "organization",
    "aws:principalorgpaths": "organization",
    "aws:sourceaccount": "account",
    "aws:sourcearn": "arn",
    "aws:sourceip": "cidr",
    "aws:sourceowner": "account",
    "aws:sourcevpc": "vpc",
    "aws:sourcevpce": "vpce",
    "aws:userid": "userid",
    "kms:calleraccount": "account",
    "saml:aud": "saml-endpoint",
}

# Only the beginning counts: what follows (IfExists, a typing error) does not change what is compared.
NARROWING_OPERATORS = re.compile(
    r"((ForAllValues|ForAnyValue):)?(ARN(Equals|Like)|String(Equals|Like)|IpAddress)", re.IGNORECASE
)
ARN = re.compile(r"arn:[^:]*:(?P<service>[^:]*):[^:]*:(?P<account>|\*|\d{12}|cloudfront|aws):.+$")
ACCOUNTS = re.compile(r"(\d{12})+$")
SERVICE = re.compile(r"(([^.]+)(.[^.]+)?)\.amazon(aws)?\.com$|([^.]+).aws.internal$")


def as_list(value):
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return value
    return [value]


class Statement:
    def __init__(self, statement):
        self.statement = statement
        self.condition_entries = self._condition_entries()
        self.principals = self._principals()
        actions = statement.get("Action")
        self.actions = set(as_list(actions)) if actions else set()

    @property
    def effect(self):
        return self.statement.get("Effect")

    @property
    def resources(self):
        return {"*"} if "NotResource" in self.statement else set(as_list(self.statement.get("Resource")))

    @property
    def actions_expanded(self):
        from policyuniverse.expander_minimizer import get_actions_from_statement

        return get_actions_from_statement(self.statement)

    def action_summary(self):
        """Service -> the kinds of access that the statement is about."""
        # Only who asks for it pays for the table of all actions.
        from policyuniverse.action_categories import categories_for_actions

        return categories_for_actions(self.actions_expanded)

    def uses_not_principal(self):
        return "NotPrincipal" in self.statement

    def _principals(self):
        principal = self.statement.get("Principal")
        if not principal:
            return set()
        if isinstance(principal, Mapping):
            named = [principal[kind] for kind in ("AWS", "Service", "Federated") if kind in principal]
        else:
            named = [principal]
        return {one for values in named for one in as_list(values)}

    def _condition_entries(self):
        entries = []
        for operator, test in (self.statement.get("Condition") or {}).items():
            if not NARROWING_OPERATORS.match(operator):
                continue
            for key, values in test.items():
                category = CATEGORIES.get(key.lower())
                if category:
                    entries += [ConditionTuple(value=value, category=category) for value in as_list(values)]
        return entries

    def _values(self, category):
        return {entry.value for entry in self.condition_entries if entry.category == category}

    @property
    def condition_arns(self):
        return self._values("arn")

    @property
    def condition_accounts(self):
        return self._values("account")

    @property
    def condition_orgids(self):
        return {organization(path) for path in self._values("organization")}

    @property
    def condition_orgpaths(self):
        return self._values("organization")

    @property
    def condition_userids(self):
        return self._values("userid")

    @property
    def condition_cidrs(self):
        return self._values("cidr")

    @property
    def condition_vpcs(self):
        return self._values("vpc")

    @property
    def condition_vpces(self):
        return self._values("vpce")

    def whos_allowed(self):
        principals = {PrincipalTuple(category="principal", value=principal) for principal in self.principals}
        return principals.union(self.condition_entries)

    def is_condition_internet_accessible(self):
        return not self.condition_entries or any(map(lets_everybody, self.condition_entries))

    def is_internet_accessible(self):
        if self.effect != "Allow" or not self.is_condition_internet_accessible():
            return False
        return self.uses_not_principal() or any(map(is_everybody, self.principals))


def lets_everybody(entry):
    """Whether a condition does not narrow."""
    value = entry.value
    if entry.category == "arn":
        return is_everybody(value)
    if entry.category == "organization":
        return organization(value) == "o-*" if organization(value) else "o-*" in value
    if entry.category == "userid":
        # A session of a role has any name: AROAEXAMPLEEXAMPLEEX:*
        return value.find("*") != len(value) - 1
    if entry.category == "cidr":
        return value.endswith("/0")
    return "*" in value


def is_everybody(principal):
    if principal == "*":
        return True
    arn = ARN.match(principal)
    if arn:
        # The ARN of a bucket has no account.
        return arn["service"] != "s3" and arn["account"] in ("", "*")
    if ACCOUNTS.match(principal) or SERVICE.match(principal):
        return False
    return "*" in principal


def organization(path):
    """The organisation in a path such as o-a1b2c3d4e5/r-ab12/*, or None."""
    first = path.split("/", 1)[0]
    return first if first == "*" or first.startswith("o-") else None
