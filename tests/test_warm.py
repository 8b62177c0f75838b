"""Starts from elsewhere: what is taken, by what rule, and what is said of it."""

import json

import jax
import numpy as np
import pytest
from flax import traverse_util
from safetensors.numpy import save_file

from experiments.training import initial, start
from medpatch_jax.export import names, released, torch_file, warm
from medpatch_jax.input import variables
from medpatch_jax.input.tokenise import SPECIALS
from medpatch_jax.train import freeze
from tests import exported, tables_folder


def paths(*names):
  return tuple(tuple(name.split("/")) for name in names)


def test_what_fits_is_taken_by_name_and_shape():
  """Columns by name, whatever their order; a new one keeps its drawn row."""
  old = {
    "layer_0": {"kernel_input": np.array([[1.0], [2]]), "bias": np.ones(3)},
    "classifier": {"kernel": np.ones((2, 4))},
  }
  new = {
    "layer_0": {
      "kernel_input": np.array([[7.0], [8], [9]]),
      "bias": np.zeros(3),
    },
    "classifier": {"kernel": np.zeros((2, 5))},
    "more": np.zeros(2),
  }
  got, taken = warm.take(new, old, ["Pulse", "pH"], ["pH", "Na", "Pulse"])
  np.testing.assert_array_equal(
    got["layer_0"]["kernel_input"], [[2.0], [8], [1]]
  )
  np.testing.assert_array_equal(got["layer_0"]["bias"], np.ones(3))
  np.testing.assert_array_equal(got["classifier"]["kernel"], np.zeros((2, 5)))
  assert taken.whole == paths("layer_0/bias")
  assert taken.text().splitlines() == [
    "classifier/kernel: not used",
    "layer_0/bias: taken",
    "layer_0/kernel_input: rows of pH, Pulse",
    "more: new",
  ]
  _, taken = warm.take(new["layer_0"], old["layer_0"])
  assert taken.whole == paths("bias")  # Shapes that differ do not fit.
  # A column that the new data lacks is no reason to learn the rest anew.
  _, taken = warm.take(old, new, ["pH", "Na", "Pulse"], ["Pulse", "pH"])
  assert ("layer_0", "kernel_input") in taken.whole


def equal(ours, theirs):
  return jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def test_a_run_starts_from_an_exported_folder(mine, tmp_path):
  words = (f"--init_from={mine.model}", "--freeze=encoders")
  words += ("--modalities=ehr,triage",)
  again = exported.stages(mine.root / "records", tmp_path / "warm", *words)
  assert (
    again.architecture.encoders["triage"]["vocab_size"]
    == (mine.stages.architecture.encoders["triage"]["vocab_size"])
  )
  for m in ("ehr", "triage"):
    start = initial.encoder(again.run, m)
    assert equal(start, mine.params["encoder"][m])
    still = initial.frozen(again.run, m)
    for path in traverse_util.flatten_dict(start):
      assert still(path) == (path[0] == "encoder")
    listed = tmp_path / f"warm/init_from/encoder-{m}.txt"
    assert set(listed.read_text().split("\n")[:-1]) == {
      f"{'/'.join(path)}: taken" for path in traverse_util.flatten_dict(start)
    }
  head = initial.confidence(again.run, "ehr")
  assert equal(head, mine.params["confidence"]["ehr"])
  # What it starts from is part of what a shared encoder is known by.
  keys = [s.key("unimodal", "ehr") for s in (again, mine.stages)]
  assert keys[0]["init_from"] and not keys[1]["init_from"]
  assert keys[0]["init_from"] != str(mine.model)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
  """Another hospital: a label of its own, one variable less and one more."""
  root = tmp_path_factory.mktemp("elsewhere")
  tables = tables_folder.rows()
  for stay in tables["stays"]:
    del stay["label_sepsis"]
    stay["label_readmitted"] = stay.pop("label_death")
  for table, field in (("variables", "name"), ("events", "variable")):
    for row in tables[table]:
      row[field] = row[field].replace("Lactate", "Sodium")
  tables_folder.build(tables_folder.write(root / "t", tables), root / "records")
  return root / "records"


def test_only_what_is_new_learns_on_other_labels_and_variables(
  mine, elsewhere, tmp_path
):
  words = (f"--init_from={mine.model}", "--freeze=encoders")
  words += ("--modalities=ehr,cxr",)
  there = exported.stages(elsewhere, tmp_path / "warm", *words)
  run, old = there.run, mine.params["encoder"]
  assert run.labels == ("readmitted",)
  learns = {}
  for m in run.config.modalities:
    start, still = initial.encoder(run, m), initial.frozen(run, m)
    flat = traverse_util.flatten_dict(start, sep="/")
    learns[m] = {p for p in flat if not still(tuple(p.split("/")))}
    before = traverse_util.flatten_dict(old[m], sep="/")
    for path in flat.keys() - learns[m]:
      np.testing.assert_array_equal(flat[path], before[path])
  head = {p for p in learns["cxr"] if p.startswith("classifier/")}
  kernel = "encoder/layer_0/kernel_input"
  assert len(head) == 4 and learns == {"ehr": head | {kernel}, "cxr": head}
  # Rows of the new variable and of its mask alone are not the old model's.
  ours, theirs = run.data.metadata["columns"], mine.stages.run.data
  start = initial.encoder(run, "ehr")["encoder"]["layer_0"]["kernel_input"]
  was = old["ehr"]["encoder"]["layer_0"]["kernel_input"]
  for i, name in enumerate(ours):
    both = name in theirs.metadata["columns"]
    assert both == ("Sodium" not in name)
    if both:
      j = theirs.metadata["columns"].index(name)
      np.testing.assert_array_equal(start[i], was[j])
  said = (tmp_path / "warm/init_from/encoder-ehr.txt").read_text()
  assert f"{kernel}: rows of Pulse, " in said
  assert "classifier/dense/kernel: new" in said


@pytest.fixture(scope="module")
def published(mine, tmp_path_factory):
  """Name -> path of the encoders of `mine` as others would have saved them."""
  root = tmp_path_factory.mktemp("published")
  encoder = {m: p["encoder"] for m, p in mine.params["encoder"].items()}
  vit = encoder["cxr"]["backbone"]
  tensors = names.dump(vit, names.vit("", (), 1))
  save_file(tensors, root / "vit.safetensors")
  # One text encoder with a block: the preset's own has none.
  width, pieces = 64, 40
  words = [*SPECIALS, *(chr(97 + i) for i in range(26))]
  rng = np.random.default_rng(0)
  drawn = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
  norm = {"scale": drawn(width), "bias": drawn(width)}
  dense = lambda a, b: {"kernel": drawn(a, b), "bias": drawn(b)}  # noqa: E731
  bert = {
    "words": drawn(pieces, width),
    "positions": drawn(128, width),
    "kinds": drawn(2, width),
    "norm": norm,
    "block_0": {
      "attention": {"qkv": dense(width, 192), "out": dense(width, width)},
      "norm_attention": norm,
      "mlp_in": dense(width, 8),
      "mlp_out": dense(8, width),
      "norm_mlp": norm,
    },
  }
  folder = root / "bert"
  folder.mkdir()
  (folder / "vocab.txt").write_text("\n".join(words) + "\n")
  config = {
    "hidden_size": width,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": pieces,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
  }
  (folder / "config.json").write_text(json.dumps(config))
  tensors = names.dump(bert, names.bert("", (), 1))
  save_file(tensors, folder / "model.safetensors")
  state = names.dump(encoder["ehr"], released.encoder("ehr", (), ()))
  inner = "cxr_model.cxr_encoder.feature_extractor."
  state |= names.dump(vit, names.vit(inner, (), 1))
  state |= names.dump(
    encoder["cxr"]["project"],
    names.dense(released.encoder_project("cxr"), ()),
  )
  state |= names.dump(bert, names.bert("text_model.bert.", (), 1))
  state = {f"module.{name}": x for name, x in state.items()}
  state["ehr_confidence_predictor.confidence_layer.bias"] = drawn(25)
  torch_file.write(root / "best.pth.tar", {"state_dict": state, "epoch": 3})
  return {
    "timm": root / "vit.safetensors",
    "hf": folder,
    "authors": root / "best.pth.tar",
    "vit": vit,
    "bert": bert,
  }


def started(published, mine, workdir, name, *words):
  """Run, and parameters of its encoders that --freeze keeps, by modality."""
  words = (f"--init_from={published[name]}", "--freeze=encoders", *words)
  run = exported.stages(mine.root / "records", workdir, *words).run
  kept = {}
  for m in run.config.modalities:
    params = initial.encoder(run, m)
    kept[m] = freeze.split(params, initial.frozen(run, m))[1].get("encoder", {})
  return run, kept


def test_timm_s_file_starts_the_films_encoder(published, mine, tmp_path):
  _, kept = started(published, mine, tmp_path, "timm", "--modalities=cxr")
  assert set(kept["cxr"]) == {"backbone"}  # The projection learns.
  assert equal(kept["cxr"]["backbone"], published["vit"])
  said = (tmp_path / "init_from/encoder-cxr.txt").read_text()
  assert "encoder/backbone/cls: taken\nencoder/" in said
  assert "encoder/project/kernel: new\n" in said


def test_a_hugging_face_folder_starts_every_text_s(published, mine, tmp_path):
  run, kept = started(published, mine, tmp_path, "hf", "--modalities=triage")
  assert run.tokeniser.vocab_size == 31
  assert set(kept["triage"]) == {"bert"}
  assert equal(kept["triage"]["bert"], published["bert"])


def test_the_authors_file_starts_all_of_theirs(published, mine, tmp_path):
  words = ("--modalities=ehr,cxr,triage", f"--bert={published['hf']}")
  run, kept = started(published, mine, tmp_path, "authors", *words)
  assert run.warm.columns("ehr") == tuple(variables.columns())
  assert equal(kept["cxr"], mine.params["encoder"]["cxr"]["encoder"])
  assert equal(kept["triage"]["bert"], published["bert"])
  # MIMIC's columns are not these: the recurrence alone is taken.
  was = dict(mine.params["encoder"]["ehr"]["encoder"]["layer_0"])
  del was["kernel_input"]
  assert equal(kept["ehr"], {"layer_0": was})


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (
      ("--preset=base", "--modalities=cxr"),
      "of cxr .*bias is .64. there and .384. here",
    ),
    (("--ehr=transformer", "--modalities=ehr"), "of ehr .*: no tensor of it"),
  ],
)
def test_an_encoder_of_another_size_is_refused_at_the_start(
  words, said, mine, elsewhere, tmp_path
):
  for root in (mine.root / "records", elsewhere):
    words = (f"--init_from={mine.model}", *words)
    run = exported.stages(root, tmp_path / root.parent.name, *words).run
    with pytest.raises(ValueError, match=f"--init_from=.*: .*{said}"):
      start.check(run)


def test_encoders_of_other_columns_are_a_start(mine, elsewhere, tmp_path):
  words = (f"--init_from={mine.model}", "--modalities=ehr,cxr,triage")
  start.check(exported.stages(elsewhere, tmp_path, *words).run)


@pytest.mark.parametrize("name", ["timm", "hf", "authors"])
def test_published_encoders_are_a_start(published, mine, tmp_path, name):
  words = ("--modalities=ehr,cxr,triage",)
  if name == "authors":
    words += (f"--bert={published['hf']}",)
  words += (f"--init_from={published[name]}",)
  start.check(exported.stages(mine.root / "records", tmp_path, *words).run)


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (("--freeze=encoders",), "--freeze=encoders keeps what --init_from brings"),
    (("--init_from=a", "--authors=b"), "both bring encoders"),
    (("--init_from={timm}", "--vit={timm}"), "--vit both bring an encoder"),
    (("--init_from={hf}", "--bert={hf}"), "--bert both bring an encoder"),
    (("--init_from={authors}",), "no vocabulary: pass --bert=DIR, too"),
    (("--init_from=nowhere",), "--init_from=nowhere: no such file or folder"),
    (
      ("--init_from={timm}", "--preset=base", "--modalities=ehr,triage"),
      "has no encoder named triage, and --preset=base does not train one",
    ),
  ],
)
def test_starts_that_contradict_or_lack_something_are_refused(
  words, said, published, mine, tmp_path
):
  words = [word.format(**published) for word in words]
  with pytest.raises(ValueError, match=said):
    exported.stages(mine.root / "records", tmp_path / "w", *words)
