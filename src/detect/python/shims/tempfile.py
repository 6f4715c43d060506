"""Importable, because modules import it that rules use for something else."""


def __getattr__(attribute):
    raise AttributeError(f"tempfile.{attribute} is not available: rules have no file, network or process access")
