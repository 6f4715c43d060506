"""A policy as the union of its statements."""

from collections import defaultdict

from policyuniverse.statement import Statement, as_list


class Policy:
    def __init__(self, policy):
        self.policy = policy
        self.statements = [Statement(statement) for statement in as_list(policy.get("Statement", []))]

    def _union(self, sets):
        return set().union(*sets)

    @property
    def principals(self):
        return self._union(statement.principals for statement in self.statements)

    @property
    def condition_entries(self):
        return self._union(statement.condition_entries for statement in self.statements)

    def action_summary(self):
        summary = defaultdict(set)
        for statement in self.statements:
            for service, categories in statement.action_summary().items():
                summary[service] |= categories
        return summary

    def is_internet_accessible(self):
        return any(statement.is_internet_accessible() for statement in self.statements)

    def internet_accessible_actions(self):
        open_to_all = (statement for statement in self.statements if statement.is_internet_accessible())
        return self._union(statement.actions for statement in open_to_all)

    def whos_allowed(self):
        allowing = (statement for statement in self.statements if statement.effect == "Allow")
        return self._union(statement.whos_allowed() for statement in allowing)
