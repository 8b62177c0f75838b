"""Settings of every test: strict ranks, quick compilation."""

import os
import signal

import jax
import pytest

# Most of the suite's time goes into compiling programs that run once; XLA
# reads this when the first one is compiled. Commands that tests start take it
# over.
os.environ["XLA_FLAGS"] = (
  "--xla_backend_optimization_level=0 " + os.environ.get("XLA_FLAGS", "")
)

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def ctrl_c():
  """Each test meets Ctrl-C as a new process in the foreground does.

  A shell's background jobs ignore it, and so would what tests start; a command
  that ran in this process may have left it to kill.
  """
  signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository():
  """The repository's root, where commands are run from."""
  import pathlib

  return pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def compilation_cache(tmp_path_factory):
  """Programs that two tests compile alike are compiled once a process.

  Each process of pytest has a folder of its own, since JAX does not write an
  entry at once: another process might read half of it.
  """
  folder = tmp_path_factory.mktemp("compiled")
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def compiled_programs():
  """Lets go of a file's programs: they would fill the process's memory maps.

  Past vm.max_map_count, XLA's next compilation ends in a segmentation fault.
  """
  yield
  jax.clear_caches()


@pytest.fixture(scope="session")
def mine(tmp_path_factory):
  """Tables, records and an exported model of them, with drawn parameters."""
  import types

  from tests import exported, tables_folder

  root = tmp_path_factory.mktemp("mine")
  folder = tables_folder.write(root / "tables")
  tables_folder.build(folder, root / "records")
  stages = exported.stages(root / "records", root / "run")
  params = exported.drawn(stages)
  out = exported.write(root / "model", stages, params)
  return types.SimpleNamespace(
    root=root, tables=folder, stages=stages, params=params, model=out
  )


@pytest.fixture(scope="session")
def small_records(tmp_path_factory):
  """Records of a small twin."""
  from tests import small_run

  root = tmp_path_factory.mktemp("small_records")
  small_run.records(root)
  return root


@pytest.fixture
def small(small_records, tmp_path):
  """(folder, *flags) -> configuration of a small run there."""
  from tests import small_run

  return lambda folder, *words: small_run.configuration(
    small_records, tmp_path / folder, *words
  )


@pytest.fixture
def drawn_parameters(monkeypatch):
  """Initial parameters are drawn by shape: nothing is compiled for them."""
  from experiments import initial
  from tests import small_run

  monkeypatch.setattr(initial, "init", small_run.init_drawn)
