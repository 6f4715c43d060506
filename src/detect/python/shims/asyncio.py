"""Just enough for `unittest.mock`; there is no event loop in a rule."""

from inspect import iscoroutinefunction


def __getattr__(attribute):
    raise AttributeError(f"asyncio.{attribute} is not available: rules run without an event loop")
