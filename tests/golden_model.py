"""Runs MedPatch as a whole on golden files: outputs, losses, gradients, steps.

Everything that a compilation depends on is in `Spec`, so that files which
differ in their numbers only share one.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.export import names, released
from medpatch_jax.train import losses, optimizer
from tests import golden_file
from tests.golden_file import NotUnderstood, jit


@dataclasses.dataclass(frozen=True)
class Spec:
  """What a file's model is, but for its numbers.

  Attributes:
    form: names and shapes over there.
    width: E.
    entropy: tokens are split by entropy.
    released: names of METHOD.md.
  """

  form: released.Form
  width: int
  entropy: bool
  released: tuple[str, ...]

  @property
  def module(self) -> medpatch.MedPatch:
    return medpatch.MedPatch(
      modalities=self.form.modalities,
      num_labels=self.form.num_labels,
      width=self.width,
      fuser=self.form.fuser,
      without=self.form.without,
      released=self.released,
      flag_order=self.form.flag,
    )


def spec_of(file, released_names) -> Spec:
  """Reads what is said of the model in the file's `meta`."""
  golden_file.known(file, golden_file.INPUTS)
  args = file.args
  modalities, flag = golden_file.modalities(file)
  without = args.get("ablation") or []
  without = [without] if isinstance(without, str) else without
  if set(without) - set(released.ABLATIONS):
    raise NotUnderstood(f"ablation {without}")
  own = file.kind.startswith("default")
  predictions = file.meta.get("prediction_order")
  if predictions is None:
    predictions = schema.MODALITIES if own else released.PREDICTIONS
  # Our defaults know one order only.
  presence = modalities if own else flag
  if "mask_order" in file.meta:
    presence = tuple(m.lower() for m in file.meta["mask_order"])
  form = released.Form(
    modalities=modalities,
    num_labels=int(args["num_classes"]),
    fuser=args.get("fuser") or "concat",
    without=tuple(released.ABLATIONS[w] for w in without),
    predictions=tuple(m.lower() for m in predictions),
    flag=presence,
  )
  first = f"{modalities[0]}_classifier.classifier.fc.weight"
  if first not in file.params:
    raise NotUnderstood(f"no parameter {first}")
  kind = args.get("fusion_type", "c-msma")
  if kind not in ("c-msma", "c-e-msma"):
    raise NotUnderstood(f"fusion_type {kind}")
  return Spec(
    form=form,
    width=file.params[first].shape[1],
    entropy=kind == "c-e-msma",
    released=released_names,
  )


def tree_of(file, spec: Spec) -> dict:
  """The file's parameters as our tree."""
  dropped = released.unused(spec.form, spec.width)
  wanted = {
    k: v
    for k, v in file.params.items()
    if k not in dropped and not released.ignored(k, spec.form)
  }
  try:
    tree = names.load(
      wanted, released.entries_of(spec.form, spec.width, wanted)
    )
  except ValueError as e:
    raise NotUnderstood(str(e)) from None
  if "joint" in spec.form.without:
    tree["medpatch"]["loss_scalars"] = np.zeros(1, np.float32)
  return tree


def theirs(spec: Spec, tree) -> dict[str, np.ndarray]:
  """Our parameters or gradients of `MedPatch` under their names."""
  tree = dict(tree)
  if "joint" in spec.form.without:
    del tree["loss_scalars"]
  return names.dump(tree, released.medpatch(spec.form, spec.width, ()))


_jit = functools.partial(jit, static_argnums=0)


@_jit
def pools(spec: Spec, tree, thresholds, batch) -> schema.Pools:
  """Raw input -> pools, by the frozen part of the model."""
  inputs = {}
  for i, m in enumerate(spec.form.modalities):
    encoder = golden_file.encoder(m, spec.width, spec.released)
    encoded, _ = encoder.apply(
      {"params": tree["encoder"][m]}, batch.inputs[m], batch.present[:, i]
    )
    logits = Confidence(spec.form.num_labels).apply(
      {"params": tree["confidence"][m]}, encoded.tokens
    )
    table = jnp.maximum(tree["temperature"][m], 1e-9)
    inputs[m] = medpatch.pools(
      encoded,
      logits,
      calibrate.Temperature(table, jnp.ones(table.shape[1])),
      threshold=thresholds[m],
      kind="entropy" if spec.entropy else "confidence",
      modality=m,
      released=spec.released,
    )
  return schema.Pools(inputs, batch.present, batch.label, batch.weight)


def _loss(spec, params, batch):
  """(loss, ({head: logits}, {term: loss})), under their names."""
  outputs, out = spec.module.apply({"params": params}, batch)
  total, count, _ = losses.fused(outputs, out, batch.label, batch.weight)
  # Without the joint module the released code repeats the missingness logits
  # in place of high and low.
  other = outputs.get("missingness")
  heads = {
    "high_conf": outputs.get("high", other),
    "low": outputs.get("low", other),
    "late": outputs["late"],
  }
  heads = {k: v for k, v in heads.items() if v is not None}
  terms = {
    k.removesuffix("_conf"): losses.bce(v, batch.label, batch.weight)[0] / count
    for k, v in heads.items()
  }
  return total / count, (heads, terms)


_grad = jax.value_and_grad(_loss, argnums=1, has_aux=True)
_gradients = _jit(_grad)


def _prepare(file, released_names):
  spec = spec_of(file, released_names)
  tree = tree_of(file, spec)
  # As arrays, so that files with other thresholds share the compilation.
  thresholds = {
    m: np.float32(file.args[f"{m}_confidence_threshold"])
    for m in spec.form.modalities
  }
  batch = golden_file.batch(file, spec.form.modalities)
  frozen = {k: v for k, v in tree.items() if k != "medpatch"}
  batch = pools(spec, frozen, thresholds, batch)
  return spec, tree["medpatch"], batch


def run(file, released_names):
  """Outputs, losses and gradients of one batch."""
  spec, params, batch = _prepare(file, released_names)
  (loss, (heads, terms)), grads = _gradients(spec, params, batch)
  ours = {f"out/{k}": v for k, v in heads.items()}
  ours |= {f"loss/{k}": v for k, v in terms.items()} | {"loss/loss": loss}
  ours |= {f"grad/{k}": v for k, v in theirs(spec, grads).items()}
  unused = released.unused(spec.form, spec.width)
  return ours | {f"grad/{k}": None for k in unused}


@functools.partial(jit, static_argnums=(0, 1))
def _step(spec, rule, params, state, batch):
  (loss, (_, terms)), grads = _grad(spec, params, batch)
  updates, state = rule.update(grads, state, params)
  row = jnp.stack([loss, *(terms[k] for k in ("high", "low", "late"))])
  return optax.apply_updates(params, updates), state, row


@functools.cache
def _rule(covers: str):
  """Adam as `covers` says; the released trainer's where it does not."""
  found = re.search(r"Adam\(([\d.e-]+), betas 0?\.9/([\d.]+)\)", covers)
  rate, b2 = map(float, found.groups()) if found else (1e-3, 0.9)
  return optimizer.adam(rate, b2=b2)


def run_train_steps(file, released_names):
  """Steps of the released trainer on one batch."""
  spec, params, batch = _prepare(file, released_names)
  rule = _rule(file.meta.get("covers", ""))
  state, rows = rule.init(params), []
  for _ in range(len(file.group("out")["losses"])):
    params, state, row = _step(spec, rule, params, state, batch)
    rows.append(row)
  ours = {f"out/{k}": v for k, v in theirs(spec, params).items()}
  unused = released.unused(spec.form, spec.width)
  ours |= {f"out/{k}": file.params[k] for k in unused if k in file.params}
  return ours | {"out/losses": np.stack(rows)}
