"""The synthetic twin of MIMIC: raw files whose best prediction is known."""

import importlib

from data.synthetic.twin import write

__all__ = ["bayes", "write"]


def __getattr__(name):
  # On demand, so that `python -m data.synthetic.bayes` is loaded once.
  if name == "bayes":
    return importlib.import_module("data.synthetic.bayes")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
