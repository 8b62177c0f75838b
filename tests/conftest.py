"""Settings of every test: strict ranks, quick compilation."""

import atexit
import logging
import os
import shutil
import signal
import tempfile

import jax
import pytest

from medpatch_jax import compiled

# All processes of pytest, and commands that tests start, have their compiled
# programs in common; the first of them makes the folder and removes it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="tests-")
  atexit.register(
    shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True
  )

# Most of the suite's time goes into compiling programs that run once; XLA
# reads this when the first one is compiled. Commands that tests start take it
# over. Emitters of fusions take half of what is left; JAX 0.11 has no others.
QUICK = ["--xla_backend_optimization_level=0"]
if jax.__version_info__ < (0, 11):
  QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*QUICK, os.environ.get("XLA_FLAGS", "")])

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def ctrl_c():
  """Each test meets Ctrl-C as a new process in the foreground does.

  A shell's background jobs ignore it, and so would what tests start; a command
  that ran in this process may have left it to kill.
  """
  signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def log():
  """Each test finds the log as a new process does.

  A command that ran in this process left its handler there, and the log cut
  off from what pytest catches.
  """
  logger = logging.getLogger("medpatch_jax")
  logger.handlers.clear()
  logger.setLevel(logging.NOTSET)
  logger.propagate = True


@pytest.fixture(scope="session")
def repository():
  """The repository's root, where commands are run from."""
  import pathlib

  return pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def compiled_here():
  """Programs are compiled once, not in each test and process."""
  with compiled.kept() as exchange:
    yield exchange


@pytest.fixture(autouse=True, scope="module")
def compiled_programs(compiled_here):
  """Lets go of a file's programs: they would fill the process's memory maps.

  Past vm.max_map_count, XLA's next compilation ends in a segmentation fault.
  """
  compiled_here()
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
def small(small_records, tmp_path, monkeypatch):
  """(folder, *flags) -> configuration of a small run there.

  Series have one length, whatever the longest of a batch is: fewer programs.
  """
  import dataclasses

  from medpatch_jax import presets
  from tests import small_run

  tiny = dataclasses.replace(presets.PRESETS["tiny"], hour_buckets=(256,))
  monkeypatch.setitem(presets.PRESETS, "tiny", tiny)
  return lambda folder, *words: small_run.configuration(
    small_records, tmp_path / folder, *words
  )


@pytest.fixture
def drawn_parameters(monkeypatch):
  """Initial parameters are drawn by shape: nothing is compiled for them."""
  from experiments.training import initial
  from tests import small_run

  monkeypatch.setattr(initial, "init", small_run.init_drawn)
