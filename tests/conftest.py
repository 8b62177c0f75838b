"""Settings of every test: strict ranks, one compile cache per run."""

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def repository():
  """The repository's root, where commands are run from."""
  import pathlib

  return pathlib.Path(__file__).parent.parent
