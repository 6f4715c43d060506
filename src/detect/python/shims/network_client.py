"""Stands in for client libraries of the network: importing works, and every call says why it cannot.

Names that look like exception classes are exception classes, so that `except ClientError` works.
"""


class Refusal:
    def __init__(self, name):
        self.__name = name

    def __getattr__(self, attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return Refusal(f"{self.__name}.{attribute}")

    def __call__(self, *args, **kwargs):
        raise PermissionError(f"{self.__name}() is not available: rules have no file, network or process access")


def __getattr__(attribute):
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    if attribute.endswith(("Error", "Exception", "Timeout", "Warning")):
        value = type(attribute, (Exception,), {"__module__": __name__})
    else:
        value = Refusal(f"{__name__}.{attribute}")
    globals()[attribute] = value
    return value
