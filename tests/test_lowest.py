"""What is imported is declared, with a lower bound that holds."""

import ast
import importlib.metadata
import re
import sys

import pytest

from tests import lowest

OURS = {"medpatch_jax", "data", "experiments", "tests"}
# Where the import has another name than what is installed.
INSTALLED_AS = {
  "absl": "absl-py",
  "axe_playwright_python": "axe-playwright-python",
  "icdmappings": "icd-mappings",
  "orbax": "orbax-checkpoint",
  "PIL": "pillow",
  "sklearn": "scikit-learn",
  "tensorflow_datasets": "tensorflow-datasets",
  "yaml": "pyyaml",
}
# Said to be missing, with what to install, where a flag asks for them.
OPTIONAL = {"wandb"}


def imported(room: str) -> set[str]:
  """Packages of others that a folder's files import, by their import's name."""
  found = set()
  for file in (lowest.ROOT / room).rglob("*.py"):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
      if isinstance(node, ast.Import):
        found |= {alias.name.split(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom) and not node.level:
        found.add(node.module.split(".")[0])
  return found - OURS - sys.stdlib_module_names


@pytest.mark.parametrize(
  ("room", "extras"),
  [
    ("medpatch_jax", ("onnx",)),
    ("data", ()),
    ("experiments", ("torch",)),
    ("tests", ("test", "onnx", "torch")),
  ],
)
def test_what_is_imported_is_declared(room, extras):
  wanted = {INSTALLED_AS.get(n, n) for n in imported(room) - OPTIONAL}
  assert {"jax", "numpy"} & wanted
  assert wanted <= lowest.requirements(*extras).keys()


def test_every_requirement_has_a_lower_bound_that_is_met_here():
  bounds = lowest.requirements("test")
  assert None not in bounds.values(), bounds
  for name, lower in bounds.items():
    here = importlib.metadata.version(name)
    numbers = [list(map(int, re.findall(r"\d+", v)[:3])) for v in (here, lower)]
    assert numbers[0] >= numbers[1], (name, here, lower)


@pytest.mark.slow
def test_the_lowest_versions_pass(tmp_path):
  """All but the slow tests; about 25 minutes."""
  assert lowest.main(str(tmp_path / "env"), "-q") == 0
