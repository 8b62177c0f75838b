"""Commands: flags to values to the training loop."""

from medpatch_jax.input import interrupt

interrupt.early()
