"""Which room may import which (docs in README.md, `a <- b`: b may import a)."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
METHOD = {
  "encode",
  "confidence",
  "calibrate",
  "patch",
  "joint",
  "missingness",
  "late",
  "unimodal",
}
# Room -> rooms of medpatch_jax it may import besides its own files.
ALLOWED = {
  "schema": set(),
  "files": set(),
  "compiled": set(),
  "lstm": set(),
  "layers": {"lstm"},
  "presets": {"input"},
  **{name: {"schema", "layers"} for name in METHOD},
  # The one file that wires the method.
  "medpatch": {"schema", "layers"} | METHOD,
  "baselines": {"schema", "layers"} | METHOD,
  "input": {"schema"},
  "train": {"schema", "input"},
  "evaluate": {"schema"},
  # The one function from raw input to every prediction.
  "pipeline": {"schema", "layers", "medpatch"} | METHOD,
  "export": {"schema", "layers", "medpatch", "presets", "input", "pipeline"}
  | {"evaluate"}
  | METHOD,
  "predict": {"compiled", "export", "input", "pipeline", "evaluate"},
}
HEAVY = {"tensorflow_datasets", "grain", "duckdb", "array_record"}

# Room of experiments/ -> those it may import besides its own files. What lies
# beside the rooms is a command, which no room imports, and may use all of them.
ROOMS = {
  "config": set(),
  "training": {"config"},
  "tables": {"config", "training"},
  "real": {"config", "training"},
  "bench": {"config", "training"},
  "report": {"config", "training", "tables", "flags"},
}


def _imports(path):
  """(dotted name, is it at module level) of every import in a file."""
  tree = ast.parse(path.read_text("utf-8"))
  for node in ast.walk(tree):
    top = node in tree.body
    if isinstance(node, ast.Import):
      for name in node.names:
        yield name.name, top
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: imports are absolute"
      for name in node.names:
        yield f"{node.module}.{name.name}", top


def _files(folder):
  return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
  "path", _files("medpatch_jax"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_arrows_of_the_package(path):
  parts = path.relative_to(ROOT / "medpatch_jax").with_suffix("").parts
  room = parts[0]
  for name, _ in _imports(path):
    head, *rest = name.split(".")
    assert head not in ("data", "experiments", "tests"), name
    if head == "medpatch_jax" and rest and room in ALLOWED:
      assert rest[0] in (room, "files", *ALLOWED[room]), (
        f"{path.relative_to(ROOT)} imports {name}"
      )


@pytest.mark.parametrize("path", _files("data"), ids=lambda p: p.stem)
def test_data_imports_only_schema_and_input(path):
  for name, _ in _imports(path):
    head, *rest = name.split(".")
    assert head not in ("experiments", "tests"), name
    if head == "medpatch_jax" and rest:
      assert rest[0] in ("schema", "files", "input", "evaluate"), (
        f"{path}: {name}"
      )


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_the_experiments(room):
  for path in _files(f"experiments/{room}"):
    for name, _ in _imports(path):
      if name.startswith("experiments."):
        used = name.split(".")[1]
        assert used in (room, *ROOMS[room]), f"{path}: {name}"


def test_no_file_of_the_experiments_is_imported_by_what_it_imports():
  """Imports, at the head of a file or inside a function, go one way."""
  files = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(
      ".__init__"
    ): p
    for p in _files("experiments")
  }
  uses = {
    module: {
      name if name in files else name.rpartition(".")[0]
      for name, _ in _imports(path)
      if name.startswith("experiments.")
    }
    & set(files)
    for module, path in files.items()
  }
  left = {module: used - {module} for module, used in uses.items()}
  while free := {
    module for module, used in left.items() if not used & set(left)
  }:
    left = {m: used for m, used in left.items() if m not in free}
  assert not left, f"a circle among {', '.join(sorted(left))}"


def test_nothing_that_builds_or_trains_reads_the_truth():
  """truth.csv is for the Bayes bound alone."""
  for folder in ("medpatch_jax", "data/mimic", "data/build.py"):
    path = ROOT / folder
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
      assert "truth" not in file.read_text("utf-8").lower(), file
  rooms = _files("experiments/training") + _files("experiments/config")
  for path in (ROOT / "experiments" / "train.py", *rooms):
    text = path.read_text("utf-8").lower()
    assert "truth" not in text and "bayes" not in text, path


def test_method_and_training_import_without_the_data_stack():
  """The GPU image has no tensorflow_datasets, grain, duckdb, array_record."""
  names = [
    ".".join(p.relative_to(ROOT).with_suffix("").parts)
    for p in _files("medpatch_jax")
    if p.name != "__init__.py"
  ]
  blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
  code = f"import sys, importlib\n{blocked}" + "".join(
    f"importlib.import_module({name!r})\n" for name in names
  )
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr.splitlines()[-3:]
