"""The package around `policyuniverse.policy`: IAM policies as rules look at them.

Not here: what needs the list of all actions of AWS (`expander_minimizer`, `action_categories`).
"""
