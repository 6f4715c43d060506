"""What kind of access an action gives."""

from collections import defaultdict

from policyuniverse.actions import SERVICES


def category(action):
    """None for an action that is not known."""
    service, _, name = action.partition(":")
    return SERVICES.get(service, {}).get(name)


def categories_for_actions(actions):
    """Service -> the kinds of access that these of its actions give."""
    categories = defaultdict(set)
    for action in actions:
        categories[action.partition(":")[0]].add(category(action))
    return categories


def actions_for_category(wanted):
    return {
        f"{service}:{name}" for service, actions in SERVICES.items() for name, level in actions.items() if level == wanted
    }
