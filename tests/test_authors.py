"""The authors' checkpoints (.pth.tar), both ways, and what is refused."""

import argparse
import dataclasses
import itertools
import pathlib

import jax
import numpy as np
import pytest

from medpatch_jax.export import authors, names, released, torch_file
from tests import golden, golden_file, golden_model, translation

FOLDER = pathlib.Path(__file__).parent / "golden"
FORM = released.Form(("ehr", "cxr", "rr", "dn"), 4)


def params():
  """Parameters of a c-msma model under their names."""
  name = "cmsma__ehr-cxr-rr-dn_c4_concat_default_mixed.npz"
  arrays, meta, _ = golden.read(FOLDER / name)
  return golden_file.File(arrays, meta).params


def checkpoint(tmp_path, change=lambda state, content: None):
  """A file as torch.save writes one, with prefixes and duplicates."""
  tensors = params()
  scalars = tensors.pop("trainer_weights")
  state = {}
  for name, x in tensors.items():
    state[f"fusion_model.{name}"] = x
    if "_model." in name:
      state[name] = x
      state[f"fusion_model.{name.replace('_model.', '_model_fixed.')}"] = x
  content = {"epoch": 3, "state_dict": state, "best_auroc": 0.8}
  content["weights"] = scalars
  change(state, content)
  path = tmp_path / "best_checkpoint.pth.tar"
  torch_file.write(path, content)
  return path


def test_reads_what_the_golden_file_holds(tmp_path):
  tree = authors.read(checkpoint(tmp_path), FORM, width=16)
  back = names.dump(tree, released.entries_of(FORM, 16, []))
  want = params()
  assert back.keys() == want.keys()
  for name, x in back.items():
    np.testing.assert_array_equal(x, want[name], err_msg=name)
  # The notes' rows of the late scores change places.
  score = tree["medpatch"]["late"]["score"]
  np.testing.assert_array_equal(score, want["weights"][[0, 1, 3, 2, 4, 5, 6]])


@pytest.mark.parametrize("without", [(), ("unimodal",), ("joint",)])
@pytest.mark.parametrize("fuser", ["concat", "lstm", "transformer"])
def test_written_is_read_again(tmp_path, without, fuser):
  form = dataclasses.replace(FORM, without=without, fuser=fuser)
  spec = golden_model.Spec(form, 16, False, ())
  tree = authors.read(checkpoint(tmp_path), FORM)
  model = jax.eval_shape(
    spec.module.init, jax.random.key(0), _blank(FORM, width=16)
  )
  rng = np.random.default_rng(0)
  tree["medpatch"] = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), model["params"]
  )
  path = tmp_path / "ours.pth.tar"
  authors.write(path, tree, form, 16)
  got = authors.read(path, form, 16)
  if "joint" in without:
    del got["medpatch"]["loss_scalars"], tree["medpatch"]["loss_scalars"]
  assert jax.tree.structure(got) == jax.tree.structure(tree)
  assert jax.tree.all(jax.tree.map(np.array_equal, got, tree))


SUBSETS = [
  m
  for n in range(1, 5)
  for m in itertools.combinations(("ehr", "cxr", "rr", "dn"), n)
]


def prefixed(tensors):
  """Names as a whole `Fusion` saves them: prefixes, encoders three times."""
  state = {}
  for name, x in tensors.items():
    state[f"fusion_model.{name}"] = x
    if "_model." in name:
      state[name] = x
      state[f"fusion_model.{name.replace('_model.', '_model_fixed.')}"] = x
  return state


@pytest.mark.parametrize("ablation", [None, *released.ABLATIONS])
@pytest.mark.parametrize("fuser", [None, "lstm", "transformer"])
def test_every_kind_goes_there_and_back(tmp_path, ablation, fuser):
  """Theirs -> ours -> theirs: bit for bit, but for what is never used."""
  path = tmp_path / "a.pth.tar"
  for i, modalities in enumerate(SUBSETS):
    case = translation.Case(modalities, (1, 2, 25)[i % 3], fuser, ablation)
    learn, frozen = translation.parameters(np.random.default_rng(i), case)
    scalars = learn.pop("trainer_weights")
    tensors = learn | frozen
    content = {"state_dict": prefixed(tensors), "weights": scalars}
    torch_file.write(path, content)
    form = released.Form(
      modalities,
      case.labels,
      fuser or "concat",
      (released.ABLATIONS[ablation],) if ablation else (),
    )
    authors.write(path, authors.read(path, form, 16), form, 16)
    back = torch_file.read(path)
    used = {k: v for k, v in tensors.items() if not translation.unused(case, k)}
    assert back["state_dict"].keys() == prefixed(used).keys()
    for name, x in prefixed(used).items():
      np.testing.assert_array_equal(back["state_dict"][name], x, err_msg=name)
    if ablation != "without_joint_module":
      np.testing.assert_array_equal(back["weights"], scalars)


def test_notes_keep_their_own_projections(tmp_path):
  tree = authors.read(checkpoint(tmp_path), FORM)
  want = params()
  for m in ("rr", "dn"):
    np.testing.assert_array_equal(
      tree["encoder"][m]["project"]["kernel"],
      want[f"text_model.fc_{m}.weight"].T,
    )
    np.testing.assert_array_equal(
      tree["medpatch"]["high"][f"project_{m}"]["bias"],
      want[f"{m}_high_proj.bias"],
    )


def test_temperatures_are_positive_as_at_their_division(tmp_path):
  def change(state, content):
    table = state["fusion_model.rr_temperature"].copy()
    table[1, 2] = -3.0
    state["fusion_model.rr_temperature"] = table

  tree = authors.read(checkpoint(tmp_path, change), FORM)
  table = tree["temperature"]["rr"]
  assert table.shape == (512, 4) and table[1, 2] == np.float32(1e-9)


@pytest.mark.extra
@pytest.mark.parametrize("old", [False, True])
def test_whatever_else_is_saved_is_not_looked_at(tmp_path, old):
  """Files as torch itself writes them, optimizer and arguments included."""
  import torch

  tensors = params()
  scalars = tensors.pop("trainer_weights")
  state = {k: torch.tensor(v) for k, v in prefixed(tensors).items()}
  layer = torch.nn.Linear(2, 2)
  optimizer = torch.optim.Adam(layer.parameters())
  layer(torch.ones(1, 2)).sum().backward()
  optimizer.step()
  content = {
    "epoch": 7,
    "state_dict": state,
    "best_auroc": np.float64(0.8),
    "optimizer": optimizer.state_dict(),
    "args": argparse.Namespace(modalities="EHR-CXR-RR-DN", path=tmp_path),
    "layer": layer,
  }
  for weights in (
    torch.nn.Parameter(torch.tensor(scalars)),
    torch.tensor(scalars),
    scalars.tolist(),
  ):
    path = tmp_path / "theirs.pth.tar"
    torch.save(
      content | {"weights": weights},
      path,
      _use_new_zipfile_serialization=not old,
    )
    tree = authors.read(path, FORM, 16)
    back = names.dump(tree, released.entries_of(FORM, 16, []))
    for name, x in tensors.items():
      np.testing.assert_array_equal(back[name], x, err_msg=name)
    np.testing.assert_array_equal(back["trainer_weights"], scalars)
  authors.write(tmp_path / "ours.pth.tar", tree, FORM, 16)
  ours = torch.load(tmp_path / "ours.pth.tar", weights_only=True)
  assert ours["state_dict"].keys() == state.keys()
  assert all(torch.equal(ours["state_dict"][k], state[k]) for k in state)


@pytest.mark.parametrize(
  "weights, message",
  [
    ([1.0, 2.0], "not three numbers"),
    ("equal", "not three numbers"),
    (np.array([1, np.nan, 1], np.float32), "NaN or infinity"),
  ],
)
def test_other_loss_scalars_are_refused(tmp_path, weights, message):
  def change(state, content):
    content["weights"] = np.array(weights, np.float32)

  def text(state, content):
    content["weights"] = weights

  change = text if isinstance(weights, str) else change
  with pytest.raises(ValueError, match=message):
    authors.read(checkpoint(tmp_path, change), FORM)


def test_loss_scalars_in_lists_without_an_end_are_refused(tmp_path):
  weights = [1.0]
  for _ in range(30):
    weights = [weights, weights]
  with pytest.raises(ValueError, match="not three numbers"):
    authors._scalars(weights)


def test_a_block_of_a_great_number_lists_no_blocks_before_it():
  blocks = ["blocks.0.x", "blocks.1.x", f"blocks.{10**12}.x", "head"]
  assert names.depth(blocks, r"blocks\.(\d+)\.") == 4
  assert names.depth(blocks[:2], r"blocks\.(\d+)\.") == 2


def test_without_loss_scalars_they_start_equal(tmp_path):
  file = checkpoint(tmp_path, lambda state, content: content.pop("weights"))
  scalars = authors.read(file, FORM)["medpatch"]["loss_scalars"]
  np.testing.assert_array_equal(scalars, [1, 1, 1])


def _blank(form, width):
  from medpatch_jax import schema

  dims = {"ehr": width, "cxr": 20, "rr": 24, "dn": 24}
  C = form.num_labels

  def zeros(*shape):
    return np.zeros(shape, np.float32)

  inputs = {
    m: schema.Pool(
      *(zeros(1, C, dims[m]) for _ in range(2)),
      *(np.ones((1, C), bool) for _ in range(2)),
      *(zeros(1, C) for _ in range(2)),
      zeros(1, width),
    )
    for m in form.modalities
  }
  present = np.ones((1, len(form.modalities)), bool)
  return schema.Pools(inputs, present, zeros(1, C), np.ones(1, np.float32))


@pytest.mark.parametrize(
  "form, width, message",
  [
    (
      dataclasses.replace(FORM, num_labels=25),
      16,
      "4 labels, the task has 25: no --task has as many",
    ),
    (FORM, 512, "joint width 16, the model has 512"),
    (dataclasses.replace(FORM, fuser="lstm"), 16, "pass --fuser=concat"),
    (
      released.Form(("ehr", "cxr"), 4),
      16,
      "wanted ehr,cxr: pass --modalities=ehr,cxr,rr,dn",
    ),
    (
      dataclasses.replace(FORM, without=("missingness",)),
      16,
      "7 sources in the late module, wanted 6: pass --without=\\.",
    ),
  ],
)
def test_another_kind_is_refused(tmp_path, form, width, message):
  with pytest.raises(ValueError, match=message):
    authors.read(checkpoint(tmp_path), form, width)


def edit(name, value):
  def change(state, content):
    del content
    if value is None:
      del state[name]
    else:
      state[name] = value(state.get(name))

  return change


@pytest.mark.parametrize(
  "change, message",
  [
    (
      edit("fusion_model.cxr_low_proj.bias", None),
      "missing cxr_low_proj.bias",
    ),
    (
      edit("fusion_model.extra", lambda _: np.ones(2, np.float32)),
      "not understood extra",
    ),
    (
      edit("fusion_model.weights", lambda x: x * np.float32(np.nan)),
      "weights holds NaN or infinity",
    ),
    (
      edit("ehr_model.layer0.bias_ih_l0", lambda x: x + np.float32(np.inf)),
      "ehr_model.layer0.bias_ih_l0 holds NaN or infinity",
    ),
    (
      edit("fusion_model.ehr_model_fixed.layer0.bias_ih_l0", lambda x: x + 1),
      "differs from its other copy",
    ),
  ],
)
def test_damaged_content_is_refused(tmp_path, change, message):
  """In one line that begins with the name of the file."""
  path = checkpoint(tmp_path, change)
  with pytest.raises(ValueError, match=message) as e:
    authors.read(path, FORM)
  assert str(e.value).startswith(f"{path}: ") and "\n" not in str(e.value)


def test_the_task_of_as_many_labels_is_named(tmp_path):
  case = translation.Case(("ehr",), 1)
  learn, frozen = translation.parameters(np.random.default_rng(0), case)
  path = tmp_path / "a.pth.tar"
  torch_file.write(path, {"state_dict": learn | frozen})
  with pytest.raises(ValueError, match="pass --task=in_hospital_mortality"):
    authors.read(path, released.Form(("ehr",), 25))


def test_a_file_of_something_else_is_refused(tmp_path):
  path = tmp_path / "x.pth.tar"
  torch_file.write(path, {"model": {"a": np.ones(1, np.float32)}})
  with pytest.raises(ValueError, match="has no `state_dict`"):
    authors.read(path, FORM)


def test_two_different_text_encoders_cannot_be_written(tmp_path):
  tree = authors.read(checkpoint(tmp_path), FORM)
  entries = names.bert("text_model.bert.", ("encoder", "rr", "bert"), 0)
  entries += names.bert("text_model.bert.", ("encoder", "dn", "bert"), 0)
  same = {e.name: np.ones(2, np.float32) for e in entries}
  tree = names.load(same, entries)
  assert names.dump(tree, entries).keys() == same.keys()
  tree["encoder"]["dn"]["bert"]["words"] = np.zeros(2, np.float32)
  with pytest.raises(ValueError, match="differs from its twin"):
    names.dump(tree, entries)


def test_temperatures_get_their_length():
  position, label = np.full((3, 2), 2.0), np.array([4.0, 5.0])
  got = authors.pad_temperature(position, label, "rr")
  assert got.shape == (512, 2) and got.dtype == np.float32
  np.testing.assert_array_equal(got[2:4], [[2, 2], [4, 5]])
  assert authors.pad_temperature(position, label, "ehr").shape == (2646, 2)
  one = authors.pad_temperature(position[:, :1], label[:1], "ehr")
  assert one.shape == (48, 1)
