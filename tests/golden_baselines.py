"""Golden numbers of baselines and metrics, with the released parameters.

`RUNNERS` maps the kind of a file, the part of its name before "__", to a
function of its arrays, its `meta` and the tuple of released switches; it
returns {tensor: (ours, theirs)}. ../shared/golden/README.md says what the
files hold. Files of the same kinds with other modalities, labels, presence
or sizes are understood too.
"""

import ast
import functools
import re

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from medpatch_jax import schema
from medpatch_jax.baselines import (
  daft,
  early,
  healnet,
  joint,
  late,
  medfuse,
  metra,
  mmtm,
)
from medpatch_jax.encode import ehr, tokens
from medpatch_jax.evaluate import bootstrap, metrics
from tests.golden_file import Read, difference, label_of
from tests.golden_names import QUICK, Names, bce, differentiate, names_in


def modalities_of(meta):
  """Modalities in our order, by the file's case: "ehr-cxr-rr_c1_cls"."""
  texts = (meta.get("covers", "").split(";")[0].split(":")[0], meta["case"])
  for text in texts:
    named = text.lower().split("_")[0].split("-")
    if not (unknown := set(named) - set(schema.MODALITIES)):
      break
  else:
    raise ValueError(f"unknown modalities {sorted(unknown)}.")
  return tuple(m for m in schema.MODALITIES if m in named)


def batch_of(arrays, modalities):
  """The file's inputs as a `schema.Batch`; stub tokens stand for encoders."""
  label = _label(arrays)
  inputs, present = {}, []
  for m in modalities:
    if m == "ehr":
      x = arrays["in/x"]
      hour = np.arange(x.shape[1])
      mask = hour[None] < np.atleast_1d(arrays["in/seq_lengths"])[:, None]
      inputs[m] = {"x": x, "mask": mask}
      present.append(np.ones(len(x), bool))
      continue
    given = arrays[f"in/{m}_tokens"]
    inputs[m] = {"tokens": given, "mask": np.ones(given.shape[:2], bool)}
    if f"in/{m}_present" in arrays:
      present.append(np.atleast_1d(arrays[f"in/{m}_present"]))
    else:
      texts = np.atleast_1d(arrays[f"in/{m}"])
      present.append(np.array([bool(t.strip()) for t in texts]))
  return schema.Batch(
    inputs=jax.tree.map(jnp.asarray, inputs),
    present=jnp.asarray(np.stack(present, axis=1)),
    label=jnp.asarray(label),
    weight=jnp.ones(len(label)),
  )


def _label(arrays):
  """in/y as f32[B C]."""
  start = "in/"
  inputs = {
    k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)
  }
  return label_of(inputs | {"y": arrays["in/y"]})


def encoders_of(arrays, meta, modalities, names, released):
  """Encoders for stub tokens and an LSTM, and their names."""
  said = f"{meta.get('covers', '')} {meta['case']}"
  how = "first" if re.search(r"pooling=cls|_cls\b", said) else "mean"
  project = {
    "cxr": "cxr_model.cxr_encoder.projection_layer",
    "rr": "text_model.fc_rr",
    "dn": "text_model.fc_dn",
  }
  found = {}
  for m in modalities:
    if m == "ehr":
      width = arrays["param/ehr_model.layer0.weight_hh_l0"].shape[1]
      found[m] = ehr.LSTM(width=width, released=released)
      names.lstm("ehr_model.layer0", "encoders_ehr/layer_0")
      continue
    found[m] = tokens.Tokens(
      joint_width=arrays[f"param/{project[m]}.weight"].shape[0],
      summary=how if m == "cxr" else "mean",
      released=released,
    )
    names.dense(project[m], f"encoders_{m}/project")
  return found


def run_fusion(arrays, meta, released):
  """early, joint and late."""
  kind, modalities = meta["module"], modalities_of(meta)
  names = Names()
  batch = batch_of(arrays, modalities)
  encoders = encoders_of(arrays, meta, modalities, names, released)
  if kind != "late" and {"rr", "dn"} <= set(modalities):
    # The released code encodes both notes and then drops them, leaving zeros
    # in their place: as if neither was there.
    for m in ("rr", "dn"):
      encoders[m] = encoders[m].clone(released=())
    note = np.isin(modalities, ("rr", "dn"))
    batch = batch.replace(present=batch.present & ~note[None])
  common = dict(
    modalities=modalities, encoders=encoders, num_labels=batch.label.shape[1]
  )
  if kind == "late":
    model = late.LateMean(**common, released=released)
    for m in modalities:
      theirs = f"fusion_model.{m}_classifier.classifier"
      names.classifier(theirs, f"classifier_{m}")
  else:
    model = {"early": early.Early, "joint": joint.Joint}[kind](**common)
    theirs = f"fusion_model.{kind}_classifier.classifier"
    names.classifier(theirs, "classifier")

  def loss(apply):
    logits = apply(batch, train=False)[0][kind]
    return bce(logits, batch.label), logits

  logits, pairs, _ = differentiate(model, names, arrays, loss)
  return {"out/logits": (logits, arrays["out/logits"])} | pairs


class Variables(nn.Module):
  """MeTra's EHR tokens: a Dense over the hours of each variable."""

  width: int

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    x = nn.Dense(self.width, name="linear")(jnp.swapaxes(fields["x"], 1, 2))
    mask = jnp.broadcast_to(present[:, None], x.shape[:2])
    return schema.Encoded(tokens=x, mask=mask, summary=x[:, 0]), {}


class Stub(nn.Module):
  """Tokens as they are given, without a summary."""

  released: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    mask = fields["mask"]
    if "absent_tokens" not in self.released:
      mask = mask & present[:, None]
    x = jnp.where(mask[:, :, None], fields["tokens"], 0.0)
    return schema.Encoded(tokens=x, mask=mask, summary=x[:, 0]), {}


def run_metra(arrays, meta, released):
  """Their table of positions is one for all, the notes in order DN, RR."""
  modalities, names = modalities_of(meta), Names()
  batch = batch_of(arrays, modalities)
  table = arrays["param/pos_embedding"][0]
  encoders, rows, at = {}, {"cls": slice(0, 1)}, 1
  for m in sorted(modalities, key=("ehr", "cxr", "dn", "rr").index):
    if m == "ehr":
      encoders[m] = Variables(width=table.shape[-1])
      names.dense("ehr_model.ehr_encoder.linear", "encoders_ehr/linear")
      count = arrays["in/x"].shape[2]
    else:
      encoders[m] = Stub(released)
      theirs = "cxr_model.cxr_encoder.projection_layer"
      names.dense(
        theirs if m == "cxr" else f"text_model.fc_{m}", f"project_{m}"
      )
      count = arrays[f"in/{m}_tokens"].shape[1]
    rows[m] = slice(at, at + count)
    at += count
  names.add("cls_token", "cls", np.ravel, lambda a: a[None, None])
  depth = sum(k.endswith("to_qkv.weight") for k in names_in(arrays, ""))
  for i in range(depth):
    theirs, ours = f"transformer.layers.{i}", f"transformer/block_{i}"
    names.norm(f"{theirs}.0.norm", f"{ours}/norm_attention")
    names.dense(f"{theirs}.0.fn.to_qkv", f"{ours}/attention/qkv", bias=False)
    names.dense(f"{theirs}.0.fn.to_out.0", f"{ours}/attention/out")
    names.norm(f"{theirs}.1.norm", f"{ours}/norm_mlp")
    names.dense(f"{theirs}.1.fn.net.0", f"{ours}/mlp_in")
    names.dense(f"{theirs}.1.fn.net.3", f"{ours}/mlp_out")
  names.classifier("metra_classifier.classifier", "classifier")
  block = "param/transformer.layers.0"
  found = re.search(r"heads (\d+)", meta.get("covers", ""))
  heads = int(found[1]) if found else 4
  inner = arrays[f"{block}.0.fn.to_qkv.weight"].shape[0] // 3
  model = metra.MeTra(
    modalities=modalities,
    encoders=encoders,
    num_labels=batch.label.shape[1],
    width=table.shape[-1],
    depth=depth,
    heads=heads,
    head_width=inner // heads,
    mlp=arrays[f"{block}.1.fn.net.0.weight"].shape[0],
  )
  positions = {
    (f"position_{m}",): jnp.asarray(table[r][0] if m == "cls" else table[r])
    for m, r in rows.items()
  }

  def loss(apply):
    logits = apply(batch, train=False)[0]["metra"]
    return bce(logits, batch.label), logits

  logits, pairs, grads = differentiate(model, names, arrays, loss, positions)
  gradient = np.zeros_like(table)
  for m, r in rows.items():
    gradient[r] = grads[(f"position_{m}",)]
  if (key := "grad/pos_embedding") in arrays:
    pairs[key] = gradient[None], arrays[key]
  return {"out/logits": (logits, arrays["out/logits"])} | pairs


def run_medfuse(arrays, meta, released):
  """The MedFuse repository: outputs are probabilities."""
  said = f"{meta.get('covers', '')} {meta['case']}"
  if not re.search(r"fusion_type=lstm| lstm", said):
    raise ValueError(f"medfuse: {said!r} is not LSTM fusion.")
  names = Names()
  film = {
    "in/cxr_tokens": arrays["in/cxr_feats"][:, None],
    "in/cxr_present": arrays["in/pairs"],
  }
  needed = ("in/x", "in/seq_lengths", "in/y")
  batch = batch_of({k: arrays[k] for k in needed} | film, ("ehr", "cxr"))
  depth = sum(k.endswith("weight_hh_l0") for k in names_in(arrays, "ehr_model"))
  width = arrays["param/projection.weight"].shape[0]
  for i in range(depth):
    names.lstm(f"ehr_model.layer{i}", f"encoders_ehr/layer_{i}")
  names.dense("projection", "encoders_cxr/project")
  names.lstm("lstm_fusion_layer", "lstm")
  names.dense("lstm_fused_cls.0", "dense")
  model = medfuse.MedFuse(
    modalities=("ehr", "cxr"),
    encoders={
      "ehr": ehr.LSTM(width=width, layers=depth, released=released),
      "cxr": tokens.Tokens(joint_width=width, released=released),
    },
    num_labels=batch.label.shape[1],
    hidden=arrays["param/lstm_fusion_layer.weight_hh_l0"].shape[1],
  )

  def loss(apply):
    outputs, out = apply(batch, train=False)
    logits = outputs["medfuse"]
    return bce(logits, batch.label), (logits, out["sequence"])

  (logits, sequence), pairs, _ = differentiate(model, names, arrays, loss)
  ours = {
    "out/lstm": jax.nn.sigmoid(logits),
    "out/ehr_feats": sequence[:, 0],
    "out/cxr_feats": sequence[:, 1],
  }
  return {k: (v, arrays[k]) for k, v in ours.items()} | pairs


def run_mmtm_block(arrays, meta, released):
  names = Names()
  film = arrays["in/visual"]
  tokens_film = einops.rearrange(film, "B V Y X -> B (Y X) V")
  sequence = arrays["in/skeleton"]
  names.dense("fc_squeeze", "squeeze")
  names.dense("fc_visual", "film")
  names.dense("fc_skeleton", "ehr")
  width = film.shape[1] + sequence.shape[2]
  ratio = 2 * width // arrays["param/fc_squeeze.bias"].size
  model = mmtm.Gate(ratio=ratio)

  def loss(apply):
    masks = [jnp.ones(a.shape[:2], bool) for a in (tokens_film, sequence)]
    gated, ehr_out = apply(tokens_film, masks[0], sequence, masks[1])
    film_out = einops.rearrange(
      gated, "B (Y X) V -> B V Y X", Y=film.shape[2], X=film.shape[3]
    )
    value = bce(film_out, arrays["in/yv"]) + bce(ehr_out, arrays["in/ys"])
    return value, {"out/visual": film_out, "out/skeleton": ehr_out}

  found, pairs, _ = differentiate(model, names, arrays, loss)
  return {k: (v, arrays[k]) for k, v in found.items()} | pairs


def run_daft_block(arrays, meta, released):
  names = Names()
  names.dense("aux.aux_base", "base", bias=False)
  names.dense("aux.aux_out", "out", bias=False)
  film = einops.rearrange(arrays["in/feature_map"], "B V Y X -> B (Y X) V")
  sequence = arrays["in/x_aux"]
  activation = re.search(r"activation=(\w+)", meta["covers"])
  model = daft.Affine(
    bottleneck=arrays["param/aux.aux_base.weight"].shape[0],
    activation=activation[1] if activation else "linear",
  )

  def loss(apply):
    masks = [jnp.ones(a.shape[:2], bool) for a in (film, sequence)]
    out = apply(film, masks[0], sequence, masks[1])
    return bce(out, arrays["in/y"]), out

  out, pairs, _ = differentiate(model, names, arrays, loss)
  return {"out/out": (out, arrays["out/out"])} | pairs


def run_healnet_core(arrays, meta, released):
  """Which tokens are there is in `covers`: "present=[1, 1, 1]; depth=2; {}".

  The released code still runs an absent modality's self-attention.
  """
  covers = re.fullmatch(
    r"present=(\[.*?\]); depth=(\d+); (\{.*\})", meta["covers"]
  )
  if not covers or ast.literal_eval(covers[3]):
    raise ValueError(f"healnet: {meta['covers']!r} is not understood.")
  exists, depth = ast.literal_eval(covers[1]), int(covers[2])
  names = Names()
  names.add("latents", "latents")
  for i in range(depth):
    slots = len(exists)
    for m in range(slots):
      _attention(names, f"layers.{i}.{2 * m}", f"read_{m}_{i}", context=True)
      _forward(names, f"layers.{i}.{2 * m + 1}", f"read_forward_{m}_{i}")
    _attention(names, f"layers.{i}.{2 * slots}.0", f"self_{i}")
    _forward(names, f"layers.{i}.{2 * slots}.1", f"self_forward_{i}")
  names.norm("to_logits.1", "classifier/norm")
  names.dense("to_logits.2", "classifier/dense")
  latents, width = arrays["param/latents"].shape
  inner = arrays["param/layers.0.0.fn.to_q.weight"].shape[0]
  label = jnp.asarray(_label(arrays))
  core = functools.partial(
    healnet.Core,
    num_labels=label.shape[1],
    depth=depth,
    latents=latents,
    latent_width=width,
    bands=_bands(arrays, exists),
    idle_turns=True,
  )
  B = label.shape[0]
  given, mask, present = {}, {}, {}
  for m, here in enumerate(exists):
    context = arrays[f"param/layers.0.{2 * m}.fn.to_kv.weight"].shape[1]
    bands = core.keywords["bands"]
    blank = np.zeros((B, 1, context - 2 * bands - 1), np.float32)
    given[str(m)] = jnp.asarray(arrays[f"in/t{m}"] if here else blank)
    mask[str(m)] = jnp.full(given[str(m)].shape[:2], bool(here))
    present[str(m)] = jnp.full(B, bool(here))
  flat = traverse_util.unflatten_dict(names.params(arrays))

  def gap(heads):
    model = core(heads=heads, head_width=inner // heads)
    apply = jax.jit(model.apply, compiler_options=QUICK)
    logits, _ = apply({"params": flat}, given, mask, present)
    return difference(logits, arrays["out/logits"])

  # Not to be told from the shapes of the files, which hold heads times width.
  divisors = [h for h in (2, 8, 1, 4, 16) if inner % h == 0]
  heads = next((h for h in divisors if gap(h) < 1e-5), 8)
  model = core(heads=heads, head_width=inner // heads)

  def loss(apply):
    logits, x = apply(given, mask, present)
    return bce(logits, label), {"out/logits": logits, "out/latents": x}

  found, pairs, _ = differentiate(model, names, arrays, loss)
  return {k: (v, arrays[k]) for k, v in found.items()} | pairs


def _bands(arrays, exists):
  """Bands of the Fourier features, by how much they widen the tokens."""
  for m, here in enumerate(exists):
    if here:
      context = arrays[f"param/layers.0.{2 * m}.fn.to_kv.weight"].shape[1]
      return (context - arrays[f"in/t{m}"].shape[-1] - 1) // 2
  return 4


def _attention(names, theirs, ours, context=False):
  names.norm(f"{theirs}.norm", f"{ours}/norm")
  if context:
    names.norm(f"{theirs}.norm_context", f"{ours}/norm_context")
  names.dense(f"{theirs}.fn.to_q", f"{ours}/query", bias=False)
  names.dense(f"{theirs}.fn.to_kv", f"{ours}/key_value", bias=False)
  names.dense(f"{theirs}.fn.to_out.0", f"{ours}/out")


def _forward(names, theirs, ours):
  names.norm(f"{theirs}.norm", f"{ours}/norm")
  names.dense(f"{theirs}.fn.net.0", f"{ours}/in")
  names.dense(f"{theirs}.fn.net.2", f"{ours}/out")


def run_metrics(arrays, meta, released):
  """AUROC and AUPRC, resampled as they resampled: rows, label by label."""
  label, logits = (
    arrays[k].reshape(len(arrays[k]), -1) for k in ("in/y", "in/pred")
  )
  auroc, auprc = metrics.scores(logits, label)
  found = {
    "out/auc_scores": auroc,
    "out/auprc_scores": auprc,
    "out/auroc_mean": np.array(metrics.mean(auroc)[0]),
    "out/auprc_mean": np.array(metrics.mean(auprc)[0]),
  }
  under = []
  indices = arrays["in/bootstrap_idx"]
  for c, index in enumerate(indices.reshape(-1, *indices.shape[-2:])):
    counts = [np.bincount(rows, minlength=len(label)) for rows in index]
    under.append(
      bootstrap.resample(
        logits[:, [c]], label[:, [c]], np.stack(counts).astype(np.uint16)
      )
    )
  for name in ("auroc", "auprc"):
    bounds = [bootstrap.interval(getattr(one, name)) for one in under]
    found[f"out/ci_{name}"] = np.array(bounds)[:, :, 0]
  for c, one in enumerate(under):
    found[f"out/first50_boot_auprc_auroc_class{c}"] = np.concatenate(
      [one.auprc[:50], one.auroc[:50]], axis=1
    )
  return {k: (v, arrays[k]) for k, v in found.items() if k in arrays}


def _absent(arrays, meta):
  """Patterns of the inputs and encoders of modalities that a case is without.

  The released code hands all inputs to every model and makes both projections
  of the text encoder where one kind of notes is asked for.
  """
  found = []
  for m in set(schema.MODALITIES) - set(modalities_of(meta)):
    found += [rf"in/{m}(_tokens|_present)?", rf"param/text_model\.fc_{m}\..*"]
    if m == "ehr":
      found += ["in/x", "in/seq_lengths"]
  return found


def _unfused(arrays, meta):
  """Patterns of MedFuse's classifiers of other kinds of fusion."""
  return [
    r"param/(ehr_model\.dense_layer|cxr_model\.classifier|fused_cls\.0)\..*"
  ]


def _strict(run, spare=lambda arrays, meta: ()):
  """`run`, which must look up all of a file but what is `spare`."""

  def runner(arrays, meta, released):
    arrays = Read(arrays)
    pairs = run(arrays, meta, released)
    arrays.check(spare(arrays, meta))
    return pairs

  return runner


RUNNERS = {
  "early": _strict(run_fusion, _absent),
  "joint": _strict(run_fusion, _absent),
  "late": _strict(run_fusion, _absent),
  "metra": _strict(run_metra, _absent),
  "medfuse": _strict(run_medfuse, _unfused),
  "mmtm_block": _strict(run_mmtm_block),
  "daft_block": _strict(run_daft_block),
  "healnet_core": _strict(run_healnet_core),
  "metrics": _strict(run_metrics),
}
