"""The method against golden numbers, and the command that compares."""

import json
import pathlib

import numpy as np
import pytest

from medpatch_jax.schema import RELEASED
from tests import golden, golden_method

FOLDER = pathlib.Path(__file__).parent / "golden"
FILES = sorted(
  path
  for path in FOLDER.glob("*.npz")
  if path.name.split("__")[0] in golden_method.RUNNERS
)
SWITCHES = {  # ../shared/golden/README.md
  "cmsma": RELEASED,
  "emsma": RELEASED,
  "train_steps": RELEASED,
  "unimodal": ("absent_tokens", "padding_tokens"),
  "text_encoder": ("padding_tokens",),
}


def switches(path):
  if path.stem.endswith("_equal"):
    return ()
  if path.stem == "ehr_lstm__tokens_overpadded":
    return ("padding_tokens",)
  return SWITCHES.get(path.name.split("__")[0], ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_equals_the_golden_numbers(path):
  worst = golden.compare(path, switches(path))
  assert max(worst.values())[0] <= golden.LIMIT, worst


def test_every_kind_has_a_file():
  kinds = {path.name.split("__")[0] for path in FILES}
  assert kinds == golden_method.RUNNERS.keys()


def altered(tmp_path, name, change):
  """A copy of a golden file after change(arrays)."""
  with np.load(FOLDER / f"{name}.npz") as file:
    arrays = {k: file[k] for k in file.files}
  change(arrays)
  path = tmp_path / f"{name}.npz"
  np.savez(path, **arrays)
  return str(path)


def test_command_accepts_a_good_file(capsys):
  assert golden.main([str(FOLDER / "loss__bce.npz")]) == 0
  assert "1 of 1 within 1e-05" in capsys.readouterr().out


def test_command_refuses_a_difference(tmp_path, capsys):
  def change(arrays):
    arrays["out/logits"][0, 0] += 1e-3

  path = altered(tmp_path, "classifier__mlp_c4", change)
  assert golden.main([path]) == 1
  assert "ABOVE 1e-05 (out/logits)" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["param/extra", "in/extra", "out/extra"])
def test_command_refuses_what_it_does_not_know(tmp_path, capsys, key):
  def change(arrays):
    arrays[key] = np.ones(2, np.float32)

  path = altered(tmp_path, "classifier__mlp_c4", change)
  assert golden.main([path]) == 1
  assert "not understood" in capsys.readouterr().out


@pytest.mark.parametrize(
  "name",
  [
    "loss__bce",
    "ece__c4",
    "normalizer__fit",
    "optimizer__reduce_lr_on_plateau",
  ],
)
@pytest.mark.parametrize("key", ["param/extra", "in/extra"])
def test_modules_without_parameters_refuse_them(tmp_path, name, key):
  path = altered(tmp_path, name, lambda a: a.update({key: np.ones(2)}))
  with pytest.raises(golden.NotUnderstood, match="extra"):
    golden.compare(path)


@pytest.mark.parametrize("case", ["cosine", "kl", "bce_weighted"])
def test_another_loss_is_refused(tmp_path, case):
  def change(arrays):
    meta = {"module": "loss", "case": case, "covers": f"{case}(a, b)"}
    arrays["meta"] = json.dumps(meta)

  path = altered(tmp_path, "loss__bce", change)
  with pytest.raises(golden.NotUnderstood, match=f"loss '{case}"):
    golden.compare(path)


@pytest.mark.parametrize("summary", [None, "mean", "cls"])
def test_a_text_encoder_without_token_confidence(tmp_path, summary):
  """Projections alone, of tokens or of a summary of them; without windows."""

  def change(arrays):
    for k in [k for k in arrays if k.startswith(("grad/", "loss/"))]:
      del arrays[k]
    for m in ("rr", "dn"):
      del arrays[f"out/{m}_full"]
      tokens = arrays[f"out/{m}"]
      if summary:
        first = summary == "cls"
        arrays[f"out/{m}"] = tokens[:, 0] if first else tokens.mean(axis=1)
    meta = {"module": "text_encoder", "case": f"plain_{summary}"}
    arrays["meta"] = json.dumps(meta)

  path = altered(tmp_path, "text_encoder__c", change)
  worst = golden.compare(path, ("padding_tokens",))
  assert worst["outputs"][0] <= golden.LIMIT


def test_a_batch_of_one_without_its_axis(tmp_path):
  def change(arrays):
    for k in [k for k in arrays if k.startswith(("grad/", "loss/"))]:
      del arrays[k]
    for k in arrays:
      if k.startswith(("in/", "out/")):
        arrays[k] = arrays[k][:1]
    for k in ("in/y", "out/logits"):
      arrays[k] = arrays[k].squeeze()

  path = altered(tmp_path, "classifier__mlp_c4", change)
  assert golden.compare(path)["outputs"][0] <= golden.LIMIT


def test_command_refuses_an_unknown_kind(tmp_path, capsys):
  path = tmp_path / "riddle__a.npz"
  np.savez(path, meta="{}")
  assert golden.main([str(path)]) == 1
  assert "unknown kind 'riddle'" in capsys.readouterr().out


def test_a_missing_gradient_must_be_missing_in_ours():
  empty = np.zeros((0,))
  assert golden.difference(None, empty) == 0
  assert golden.difference(np.zeros(3), empty) == 0
  assert golden.difference(np.ones(3), empty) == float("inf")


def test_switches_are_checked(capsys):
  with pytest.raises(SystemExit):
    golden.main(["--as_released=late_nrom", "x.npz"])
  assert "late_nrom" in capsys.readouterr().err
