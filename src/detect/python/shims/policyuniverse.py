"""The package around `policyuniverse.policy`: IAM policies as rules look at them."""
