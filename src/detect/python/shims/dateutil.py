"""The package around `dateutil.parser`."""
