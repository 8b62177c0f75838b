"""The exported folder: its bytes, its programs, and what is refused."""

import hashlib
import itertools
import json
import os
import pickle
import re
import shutil

import jax
import numpy as np
import pytest
from jax import export as jax_export
from safetensors.numpy import load_file

import medpatch_jax
from medpatch_jax import layers
from medpatch_jax.encode import additive
from medpatch_jax.export import artefact, programs
from tests import exported

PATTERNS = [p for p in itertools.product([0, 1], repeat=4) if any(p)]


@pytest.fixture(scope="module")
def model(mine):
  return medpatch_jax.load(mine.model)


def files(folder):
  return {
    str(p.relative_to(folder)): p.read_bytes()
    for p in folder.rglob("*")
    if p.is_file()
  }


def drawn_batch(model, size, hours=3, windows=2, seed=0):
  """Inputs by flat name, presence patterns one after the other."""
  rng = np.random.default_rng(seed)
  kinds, shapes = model.architecture.kinds, model.preparation.shapes
  like = programs.like(kinds, shapes, hours, size, windows)
  high = {"int32": model.preparation.tokeniser.vocab_size, "uint8": 256}
  out = {}
  for name, x in like.items():
    if x.dtype == bool:
      out[name] = rng.random(x.shape) < 0.8
    elif x.dtype == np.float32:
      out[name] = rng.normal(size=x.shape).astype(np.float32)
    else:
      out[name] = rng.integers(0, high[str(x.dtype)], x.shape, x.dtype)
  present = np.array([PATTERNS[i % len(PATTERNS)] for i in range(size)], bool)
  return out | {"present": present}


def test_the_same_run_gives_the_same_bytes_without_a_path(
  mine, tmp_path, monkeypatch
):
  """The whole folder, also from elsewhere and of a run that lies elsewhere."""
  monkeypatch.chdir(tmp_path)
  moved = exported.stages(mine.root / "records", tmp_path / "run")
  again = exported.write("again", moved, mine.params)
  first, second = files(mine.model), files(again)
  assert first == second
  code = [os.path.dirname(m.__file__) for m in (exported, artefact, jax)]
  words = [mine.root, tmp_path, os.path.expanduser("~"), *code]
  for name, content in first.items():
    for word in words:
      assert str(word).encode() not in content, (name, word)
  for line in first["SHA256SUMS"].decode().splitlines():
    digest, name = line.split("  ")
    assert hashlib.sha256(first[name]).hexdigest() == digest
  assert set(first) - {"SHA256SUMS"} == {
    line.split("  ")[1] for line in first["SHA256SUMS"].decode().splitlines()
  }


def test_the_parameters_are_the_run_s(mine):
  back = artefact.read_params(mine.model)
  assert jax.tree.structure(back) == jax.tree.structure(mine.params)
  assert jax.tree.all(jax.tree.map(np.array_equal, back, mine.params))


def test_without_classifier_norm_the_folder_is_so_too(mine, tmp_path):
  words = ("--modalities=ehr", "--noclassifier_norm")
  stages = exported.stages(mine.root / "records", tmp_path / "run", *words)
  params = exported.drawn(stages)
  assert params["encoder"]["ehr"]["classifier"].keys() == {"dense"}
  assert params["medpatch"]["classifier_ehr"].keys() == {"dense"}
  model = medpatch_jax.load(exported.write(tmp_path / "m", stages, params))
  assert not model.architecture.classifier_norm
  batch = next(stages.input("train", "ehr").epoch())[1]
  got = model._compiled(model.params, programs.inputs_of(batch))
  unimodal = model.architecture.unimodal("ehr")
  _, out = unimodal.apply({"params": params["encoder"]["ehr"]}, batch)
  dense = params["medpatch"]["classifier_ehr"]["dense"]
  want = out["encoded"].summary @ dense["kernel"] + dense["bias"][None]
  np.testing.assert_allclose(got["logits.ehr"], want, atol=1e-5)


def test_a_folder_from_before_the_norm_could_be_left_out_has_it(mine, tmp_path):
  folder = copied(mine, tmp_path)
  config = json.loads((folder / "config.json").read_text())
  assert config["architecture"].pop("classifier_norm") is True
  (folder / "config.json").write_text(json.dumps(config))
  resum(folder)
  assert medpatch_jax.load(folder).architecture.classifier_norm


def test_a_folder_from_before_kinds_of_variables_has_one_series(mine, tmp_path):
  folder = copied(mine, tmp_path)
  config = json.loads((folder / "config.json").read_text())
  shapes = config["shapes"]
  shapes["columns"] = shapes["columns"]["ehr"]
  for variable in config["series"]["variables"]:
    assert variable.pop("modality") == "ehr"
  (folder / "config.json").write_text(json.dumps(config))
  resum(folder)
  before, now = (medpatch_jax.load(m).preparation for m in (folder, mine.model))
  assert (before.shapes, before.recipe) == (now.shapes, now.recipe)


def test_the_card_says_whose_data_and_that_nothing_was_measured(mine):
  card = (mine.model / "README.md").read_text()
  assert "was not scored on a test split" in card
  assert "- test: <11 stays" in card and "Al Jorf" in card
  assert re.search("agreement holds\nfor those data", card)


def test_config_and_card_say_where_the_vocabulary_is_from(mine):
  """Of a run from before a vocabulary needed patients, that it may hold names."""
  run = mine.stages.run
  wanted = {"from": "train", "patients": 11, "source": run.source_version}
  assert artefact.read_config(mine.model)["vocabulary"] == wanted
  assert "at least 11 patients have" in (mine.model / "README.md").read_text()
  origin = run._vocabulary / "origin.json"
  content = origin.read_text("utf-8")
  origin.unlink()
  try:
    assert run.vocabulary() == {"from": "train", "patients": None}
  finally:
    origin.write_text(content, "utf-8")


def stablehlo(model, folder, hours):
  content = (folder / f"stablehlo/model-{hours}h.stablehlo").read_bytes()
  program = jax_export.deserialize(bytearray(content))
  assert program.platforms == ("cpu", "cuda", "tpu")
  return jax.jit(program.call)


def assert_equal(got, want, tolerance=1e-5):
  assert got.keys() == want.keys()
  for name in want:
    np.testing.assert_allclose(
      got[name], want[name], rtol=tolerance, atol=tolerance, err_msg=name
    )


def test_the_program_needs_none_of_our_code(mine, model):
  """Only what is in the folder: parameters by name, inputs by name."""
  config = json.loads((mine.model / "config.json").read_text())
  (entry,) = [p for p in config["programs"] if p["hours"] == 3]
  inputs = drawn_batch(model, 15)
  assert [a["name"] for a in entry["arguments"]] == sorted(inputs)
  params = load_file(mine.model / "params.safetensors")
  got = stablehlo(model, mine.model, 3)(params, inputs)
  assert sorted(got) == entry["results"]
  assert_equal(got, model._compiled(model.params, inputs))


def every_batch(model):
  """Batches of 1, 7 and 64 stays, of 1 with each pattern of presence."""
  for size in (1, 7, 64):
    for windows in (1, 3):
      for seed in range(len(PATTERNS) if size == 1 else 1):
        inputs = drawn_batch(model, size, 3, windows, seed)
        if size == 1:
          inputs["present"] = np.array([PATTERNS[seed]], bool)
        yield inputs


@pytest.fixture(scope="module")
def half(mine):
  """The same parameters in a run of --dtype=bfloat16."""
  words = (mine.root / "records", mine.root / "half", "--dtype=bfloat16")
  stages = exported.stages(*words)
  folder = exported.write(mine.root / "model-half", stages, mine.params)
  return stages, medpatch_jax.load(folder), folder


@pytest.mark.slow
def test_the_program_agrees_for_every_presence_and_size(mine, model):
  params = load_file(mine.model / "params.safetensors")
  program = stablehlo(model, mine.model, 3)
  for inputs in every_batch(model):
    assert_equal(program(params, inputs), model._compiled(model.params, inputs))


@pytest.mark.slow
def test_the_program_agrees_in_bfloat16(mine, model, half):
  _, rounded, folder = half
  params = load_file(folder / "params.safetensors")
  assert all(x.dtype == np.float32 for x in params.values())
  program, apart = stablehlo(rounded, folder, 3), 0
  for inputs in every_batch(rounded):
    want = rounded._compiled(rounded.params, inputs)
    assert_equal(program(params, inputs), want, 1e-3)
    exact = model._compiled(model.params, inputs)
    apart += not np.allclose(want["logits.low"], exact["logits.low"], atol=1e-3)
  assert apart  # It is another computation than in float32.


@pytest.mark.extra
def test_onnx_agrees(mine, model, half, tmp_path, capfd):
  """In float32, also of a run in bfloat16."""
  import onnxruntime as runtime

  out = exported.write(tmp_path / "m", mine.stages, mine.params, onnx=[3])
  again = exported.write(tmp_path / "n", mine.stages, mine.params, onnx=[3])
  assert files(out) == files(again)
  rounded = exported.write(tmp_path / "h", half[0], mine.params, onnx=[3])
  name = "onnx/model-3h.onnx"
  config = json.loads((rounded / "config.json").read_text())
  assert {p["file"]: p["dtype"] for p in config["programs"]} == {
    "stablehlo/model-3h.stablehlo": "bfloat16",
    name: "float32",
  }
  for folder in (out, rounded):
    capfd.readouterr()
    session = runtime.InferenceSession(
      folder / name, providers=["CPUExecutionProvider"]
    )
    assert not capfd.readouterr().err  # It has nothing to warn of.
    names = [x.name for x in session.get_outputs()]
    for inputs in every_batch(model):
      found = dict(zip(names, session.run(None, inputs)))
      assert_equal(found, dict(model._compiled(model.params, inputs)))


@pytest.mark.extra
def test_onnx_reads_a_row_of_the_joint_module_exactly():
  """Tens of thousands of numbers, most of them small and a few large."""
  import jax2onnx
  import onnxruntime as runtime

  rng = np.random.default_rng(0)
  x = (rng.standard_normal((8, 51_200)) ** 3).astype(np.float32)
  model = layers.Classifier(4)
  params = model.init(jax.random.key(0), x)
  made = jax2onnx.to_onnx(
    lambda x: model.apply(params, x),
    [jax.ShapeDtypeStruct(("b", x.shape[1]), np.float32)],
    opset=programs.OPSET,
  ).SerializeToString()
  session = runtime.InferenceSession(made, providers=["CPUExecutionProvider"])
  (found,) = session.run(None, {session.get_inputs()[0].name: x})
  wide = np.float64(x) - np.float64(x).mean(axis=1, keepdims=True)
  wide /= np.sqrt((wide**2).mean(axis=1, keepdims=True) + 1e-5)
  want = wide @ np.float64(params["params"]["dense"]["kernel"])
  np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.extra
def test_onnx_of_the_additive_encoder_agrees():
  import jax2onnx
  import onnxruntime as runtime

  rng = np.random.default_rng(0)
  x = rng.standard_normal((3, 5, 4)).astype(np.float32)
  x[:, :, 2:] = rng.integers(0, 2, (3, 5, 2))
  given = x, np.arange(5)[None] < np.array([[5], [3], [1]]), np.arange(3) < 2
  model = additive.Additive(((0, 2), (1, 3)), width=8, pieces=4)

  def named(x, mask, present):
    return {"x": x, "mask": mask}, present

  params = model.init(jax.random.key(0), *named(*given))
  params = jax.tree.map(lambda p: p + 0.1, params)  # `other` starts at 0.

  def program(*given):
    encoded, _ = model.apply(params, *named(*given))
    return encoded.tokens, encoded.summary

  shapes = [jax.ShapeDtypeStruct(("b", *a.shape[1:]), a.dtype) for a in given]
  made = jax2onnx.to_onnx(program, shapes, opset=programs.OPSET)
  session = runtime.InferenceSession(
    made.SerializeToString(), providers=["CPUExecutionProvider"]
  )
  names = [i.name for i in session.get_inputs()]
  found = session.run(None, dict(zip(names, given)))
  for one, want in zip(found, program(*given)):
    np.testing.assert_allclose(one, want, rtol=1e-5, atol=1e-5)


def copied(mine, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(mine.model, folder)
  return folder


def resum(folder):
  """Writes checksums that match, as an attacker would."""
  lines = (folder / "SHA256SUMS").read_text().splitlines()
  names = [line.split("  ")[1] for line in lines]
  (folder / "SHA256SUMS").write_text(
    "".join(
      f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n"
      for n in names
    )
  )


def flip(folder):
  path = folder / "params.safetensors"
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


def evil(folder):
  class Bomb:
    def __reduce__(self):
      return os.mkdir, (str(folder / "burst"),)

  (folder / "params.safetensors").write_bytes(pickle.dumps(Bomb()))
  resum(folder)


def listed_outside(folder):
  (folder.parent / "secret").write_text("x")
  digest = hashlib.sha256(b"x").hexdigest()
  with open(folder / "SHA256SUMS", "a") as file:
    file.write(f"{digest}  ../secret\n")


def linked_outside(folder):
  outside = folder.parent / "config.json"
  shutil.move(folder / "config.json", outside)
  (folder / "config.json").symlink_to(outside)


def linked_inside(folder):
  shutil.move(folder / "config.json", folder / "tokenizer" / "c.json")
  (folder / "config.json").symlink_to(folder / "tokenizer" / "c.json")


def linked_folder(folder):
  shutil.move(folder / "tokenizer", folder.parent / "elsewhere")
  (folder / "tokenizer").symlink_to(folder.parent / "elsewhere")


def unlisted(name):
  """A file that would change what the model says."""

  def write(folder):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"do_lower_case": False}))

  return write


def listed(change):
  """Changes the lines of SHA256SUMS; the first is of README.md."""

  def write(folder):
    file = folder / "SHA256SUMS"
    lines = file.read_text("utf-8").splitlines()
    assert lines[0].endswith("  README.md")
    file.write_bytes("\n".join([*change(lines), ""]).encode())

  return write


def other_format(folder):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
  resum(folder)


@pytest.mark.parametrize(
  ("damage", "said"),
  [
    (flip, "params.safetensors: its checksum is not"),
    (evil, "no readable safetensors"),
    (listed_outside, "../secret leads outside the folder"),
    (linked_outside, "config.json leads outside the folder"),
    (lambda folder: (folder / "README.md").unlink(), "README.md: is missing"),
    (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS: is missing"),
    (other_format, "is of format 99, this code reads 1"),
    (linked_inside, "config.json leads outside the folder, or could"),
    (linked_folder, "tokenizer leads outside the folder, or could"),
    (
      unlisted("tokenizer/tokenizer_config.json"),
      "tokenizer/tokenizer_config.json: is not listed in SHA256SUMS",
    ),
    (unlisted("vocab.txt"), "vocab.txt: is not listed"),
    (unlisted("a/config.json"), "a/config.json: is not listed"),
    (listed(lambda lines: lines[1:]), "README.md: is not listed"),
    (listed(lambda lines: [*lines, lines[0]]), "lists README.md again"),
    (listed(lambda lines: [x.upper() for x in lines]), "line 1 is not 64"),
    (listed(lambda lines: [f"{x}\r" for x in lines]), "line 1 is not 64"),
    (listed(lambda lines: [*lines, ""]), "is not 64 of 0-9 and a-f"),
    (
      listed(lambda lines: [x.replace("  ", "  ./") for x in lines]),
      "./README.md leads outside the folder",
    ),
    (
      listed(lambda lines: [x.replace("  ", "  /") for x in lines]),
      "/README.md leads outside the folder",
    ),
    (listed(lambda lines: lines[:1]), "does not list config.json"),
    (
      lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff"),
      "SHA256SUMS: is missing or damaged",
    ),
  ],
)
def test_a_folder_that_is_not_as_it_was_written_is_refused(
  damage, said, mine, tmp_path
):
  folder = copied(mine, tmp_path)
  damage(folder)
  with pytest.raises(ValueError, match=re.escape(said)):
    medpatch_jax.load(folder)
  assert not (folder / "burst").exists()


def test_a_file_or_nothing_is_no_folder(tmp_path):
  (tmp_path / "model.zip").write_bytes(b"PK")
  with pytest.raises(ValueError, match="unpack an archive first"):
    medpatch_jax.load(tmp_path / "model.zip")
  with pytest.raises(ValueError, match="found nothing"):
    medpatch_jax.load(tmp_path / "model")


def test_a_write_that_fails_leaves_nothing(tmp_path):
  with pytest.raises(TypeError):
    artefact.write(tmp_path / "m", {"a": b"1", "b": None})
  assert not (tmp_path / "m").exists()
  artefact.write(tmp_path / "m", {"a": b"1"})
  with pytest.raises(ValueError, match="is there already"):
    artefact.write(tmp_path / "m", {"a": b"1"})
