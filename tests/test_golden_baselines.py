"""Baselines and metrics against the released code, by the files in tests/golden."""

import json
import pathlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from tests import golden_baselines, golden_file

FILES = sorted(
  path
  for path in (pathlib.Path(__file__).parent / "golden").glob("*.npz")
  if path.name.split("__")[0] in golden_baselines.RUNNERS
)
# ../shared/golden/README.md says which files need which.
RELEASED = ("absent_tokens", "padding_tokens")
KINDS = ("early", "joint", "late", "metra")


def read(path):
  """(kind, arrays, meta, switches) of a file."""
  kind = path.name.split("__")[0]
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files if name != "meta"}
    meta = json.loads(str(file["meta"]))
  return kind, arrays, meta, RELEASED if kind in KINDS else ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_equals_the_released_code(path):
  kind, arrays, meta, released = read(path)
  pairs = golden_baselines.RUNNERS[kind](arrays, meta, released)
  assert {k for k in arrays if k.startswith(("out/", "loss/"))} <= set(pairs)
  for name, (ours, theirs) in pairs.items():
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, name
    difference = np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 0.01)
    assert difference <= 1e-5, (name, difference)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_not_used_is_refused_by_name(path, monkeypatch):
  kind, arrays, meta, released = read(path)
  # What a file is refused for does not depend on its numbers.
  monkeypatch.setattr(golden_baselines, "differentiate", untouched)
  extra = {f"{g}/extra": np.ones(2, np.float32) for g in ("param", "in")}
  golden_baselines.RUNNERS[kind](arrays, meta, released)
  with pytest.raises(
    golden_file.NotUnderstood, match="not used: in/extra, param/extra$"
  ):
    golden_baselines.RUNNERS[kind](arrays | extra, meta, released)


class Zeros(dict):
  """Gradients by any name, of which any part can be taken."""

  def __missing__(self, key):
    return np.zeros((99, 99))


def untouched(model, names, arrays, loss, more=None):
  """As golden_names.differentiate, of shapes alone: nothing is compiled."""
  flat = traverse_util.unflatten_dict(names.params(arrays) | (more or {}))

  def applied(params):
    return loss(lambda *a, **kw: model.apply({"params": params}, *a, **kw))

  _, found = jax.eval_shape(applied, flat)
  return jax.tree.map(lambda x: np.zeros(x.shape), found), {}, Zeros()


def one_row(arrays, squeezed):
  """A file's first row, with its labels and outputs squeezed or not."""
  rows = len(arrays["in/y"])
  found = {k: v for k, v in arrays.items() if k.startswith("param/")}
  for k, v in arrays.items():
    if k.startswith(("in/", "out/")):
      squeeze = squeezed and (k == "in/y" or k.startswith("out/"))
      found[k] = np.squeeze(v[:1]) if squeeze else v[:1]
      assert len(v) == rows
  return found


@pytest.mark.parametrize("squeezed", [False, True])
@pytest.mark.parametrize(
  "name", ["early__ehr-cxr-rr_c1_cls", "daft_block__linear"]
)
def test_a_batch_of_one(name, squeezed):
  """The released code squeezes labels away, and with them such a batch."""
  (path,) = [p for p in FILES if p.stem == name]
  kind, arrays, meta, released = read(path)
  part = one_row(arrays, squeezed)
  pairs = golden_baselines.RUNNERS[kind](part, meta, released)
  assert {k for k in part if k.startswith("out/")} <= pairs.keys()
  assert all(golden_file.difference(*pair) <= 1e-5 for pair in pairs.values())


def test_metrics_of_one_label_without_its_axis():
  (path,) = [p for p in FILES if p.stem.startswith("metrics__")]
  kind, arrays, meta, _ = read(path)
  part = {k: arrays[k][:, 0] for k in ("in/y", "in/pred")}
  part["in/bootstrap_idx"] = arrays["in/bootstrap_idx"][0]
  for name in ("auc_scores", "auprc_scores", "ci_auroc", "ci_auprc"):
    part[f"out/{name}"] = arrays[f"out/{name}"][0]
  for name, scores in (("auroc", "auc"), ("auprc", "auprc")):
    part[f"out/{name}_mean"] = part[f"out/{scores}_scores"]
  pairs = golden_baselines.RUNNERS[kind](part, meta, ())
  assert {k for k in part if k.startswith("out/")} == pairs.keys()
  assert all(golden_file.difference(*pair) <= 1e-5 for pair in pairs.values())


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
