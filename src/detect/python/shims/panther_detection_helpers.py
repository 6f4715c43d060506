"""The package around `caching`."""
