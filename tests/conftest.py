"""Settings of every test: strict ranks, one compile cache per run."""

import tempfile

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests build the same programs again and again.
_COMPILED = tempfile.TemporaryDirectory(prefix="medpatch-compiled-")
jax.config.update("jax_compilation_cache_dir", _COMPILED.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def repository():
  """The repository's root, where commands are run from."""
  import pathlib

  return pathlib.Path(__file__).parent.parent
