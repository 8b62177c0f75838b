"""The synthetic twin of MIMIC: raw files whose best prediction is known."""

from data.synthetic.twin import write

__all__ = ["write"]
