"""Prediction from raw input: of a stay, or of a folder of tables."""

from medpatch_jax.input import interrupt

interrupt.early()
