"""Exceptions of the detection API."""


class PantherError(Exception):
    """A detection asked for something that is not configured."""


class FunctionReturnTypeError(Exception):
    """A function of a detection returned a value of the wrong type."""


class UnknownDestinationError(Exception):
    """A detection named a destination that does not exist."""
