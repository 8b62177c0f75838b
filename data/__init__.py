"""From raw files to sharded records."""

from medpatch_jax.input import interrupt

interrupt.early()
