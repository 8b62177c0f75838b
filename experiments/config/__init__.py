"""The choices of a run: flags, their checks, and what depends on which.

A flag is added by one declaration, in the file of its group (data, encoder,
confidence, fusion, optimisation, machine). The command line, `Config`, the keys
of caches, refusals, docs/flags.md and the model card follow from it. With
`module="medpatch"` it is passed to the field of `MedPatch` of the same name.
"""

from experiments.config.config import Config

__all__ = ["Config"]
