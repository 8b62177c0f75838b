"""The choices of a run: flags, their checks, and what depends on which."""

from experiments.config.config import Config

__all__ = ["Config"]
