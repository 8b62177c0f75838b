"""Baselines and metrics against the released code, by the files in tests/golden."""

import json
import pathlib

import numpy as np
import pytest

from tests import golden_baselines

FILES = sorted(
  path
  for path in (pathlib.Path(__file__).parent / "golden").glob("*.npz")
  if path.name.split("__")[0] in golden_baselines.RUNNERS
)
# ../shared/golden/README.md says which files need which.
RELEASED = ("absent_tokens", "padding_tokens")
KINDS = ("early", "joint", "late", "metra")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_equals_the_released_code(path):
  kind = path.name.split("__")[0]
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files if name != "meta"}
    meta = json.loads(str(file["meta"]))
  released = RELEASED if kind in KINDS else ()
  pairs = golden_baselines.RUNNERS[kind](arrays, meta, released)
  assert {k for k in arrays if k.startswith(("out/", "loss/"))} <= set(pairs)
  for name, (ours, theirs) in pairs.items():
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, name
    difference = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 0.01)
    assert difference <= 1e-5, (name, difference)


def test_there_are_files():
  assert {path.name.split("__")[0] for path in FILES} >= {
    "early",
    "joint",
    "late",
    "medfuse",
    "mmtm_block",
    "daft_block",
    "healnet_core",
    "metrics",
  }
