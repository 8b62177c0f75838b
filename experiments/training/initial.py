"""Initial parameters of every stage's model, and which of them stay as they are.

A function of the seed alone, but for what --bert, --vit and --init_from bring.
"""

import functools

import jax
import numpy as np

from experiments.training import models
from experiments.training.run import Run, once
from medpatch_jax import files, schema
from medpatch_jax.encode import additive
from medpatch_jax.export import names, pretrained, warm
from medpatch_jax.input import examples
from medpatch_jax.medpatch import init_from_stage1
from medpatch_jax.train import freeze
from medpatch_jax.train.log import logger

# More would move a quantile by less than a hundredth of the stays.
STAYS_OF_KNOTS = 4096


@once
def encoder(run: Run, m: str) -> dict:
  """Initial parameters of stage 1's model, pretrained where --bert or --vit is."""
  params = blank_unimodal(run, m)
  encoder_params = params["encoder"]
  kind, config = run.config.kinds[m], run.config
  if kind == "text" and config.bert:
    like = encoder_params["bert"]
    encoder_params["bert"] = pretrained.bert(config.bert, like)
  if kind == "image" and config.vit:
    like = encoder_params["backbone"]
    encoder_params["backbone"] = pretrained.vit(config.vit, like)
  if "knots" in encoder_params:
    encoder_params["knots"] = knots(run, m)
  return warmed(run, params, "encoder", m)


def blank_unimodal(run: Run, m: str) -> dict:
  """Parameters of stage 1's model at random."""
  model = models.architecture(run).unimodal(m)
  return init(model, models.example(run, m), run)


def knots(run: Run, m: str) -> np.ndarray:
  """Where `additive.Additive` cuts its statistics: quantiles over train stays.

  Every process reads the same stays, all of them: a loader would give each its
  own share.
  """
  module = models.architecture(run).encoder(m)
  rows = run.rows("train", m, "encoders")
  rows = rows[:: 1 + len(rows) // STAYS_OF_KNOTS]

  @jax.jit
  def of_stays(x, mask):
    found = additive.statistics(x, mask, module.measured)
    return additive.at_last(found, mask)

  found, width = [], run.shapes.columns[m]
  for part in np.split(rows, range(128, len(rows), 128)):
    series = [run.fields("train", m, row) for row in part]
    fields = examples.pad_series(series, 128, run.shapes, width)
    found.append(np.asarray(of_stays(**fields))[: len(part)])
  return additive.quantiles(np.concatenate(found), module.pieces)


def confidence(run: Run, m: str) -> dict:
  """Initial parameters of stage 2's model on the tokens of one encoder."""
  tokens = np.zeros((1, 1, models.token_width(run, m)), np.float32)
  params = init(models.architecture(run).head(), tokens, run)
  return warmed(run, params, "confidence", m)


def medpatch(run: Run, stage1: dict[str, dict]) -> dict:
  """Initial parameters of stage 3's model, projections taken from stage 1."""
  params = init_from_stage1(blank_medpatch(run), stage1)
  # New predictions start by saying the base rate of every stay (in a sum of
  # evidence: nothing), so that late starts from the trained ones without noise.
  # Even odds would pull stays with few modalities up, where the new ones are
  # more of the mean.
  says = run.base_rate()
  if run.config.late_pooling != "mean":
    params["late"]["prior"] = says
  if run.config.late_pooling == "sum":
    says = np.zeros_like(says)
  for name in {"missingness", "low", "high"} & params.keys():
    dense = params[name]["classifier"]["dense"]
    kernel = np.zeros_like(dense["kernel"])
    params[name]["classifier"]["dense"] = {"kernel": kernel, "bias": says}
  return warmed(run, params, "medpatch")


def blank_medpatch(run: Run) -> dict:
  """Parameters of stage 3's model at random."""
  blank = models.blank_pools(run)
  inputs = {
    m: schema.Pool(**{k: np.zeros((1, *s), d) for k, (s, d) in v.items()})
    for m, v in blank.items()
  }
  present = np.zeros((1, len(inputs)), bool)
  label = np.zeros((1, len(run.labels)), np.float32)
  batch = schema.Pools(inputs, present, label, np.zeros((1,), np.float32))
  return init(models.architecture(run).medpatch(), batch, run)


def frozen(run: Run, m: str):
  """Which parameters of stage 1's model do not learn: a path -> bool."""
  config = run.config
  learn = config.sizes.learn_text and not config.bert
  still = config.kinds[m] == "text" and not learn
  kept = _kept(run, m) if config.freeze else frozenset()
  return lambda path: (
    path in kept or (still and path[:2] == ("encoder", "bert"))
  )


@once
def bert_frozen(run: Run, m: str) -> bool:
  """Whether stage 1 leaves the whole text encoder of a modality as it is."""
  if run.config.kinds[m] != "text":
    return False
  still = frozen(run, m)
  if not run.config.freeze:
    return still(("encoder", "bert"))
  learn, _ = freeze.split(encoder(run, m), still)
  return "bert" not in learn.get("encoder", {})


@once
def _kept(run: Run, m: str) -> frozenset:
  """Paths of an encoder that --freeze keeps: those --init_from brings whole."""
  taken = _take(run, blank_unimodal(run, m), ("encoder", m))[1]
  return frozenset(path for path in taken.whole if path[0] == "encoder")


def warmed(run: Run, params, *part) -> dict:
  """Parameters with what --init_from has of them.

  It is told in the log, and tensor by tensor in a file of the workdir.

  Args:
    run: open.
    params: of a part of the model.
    *part: "encoder" or "confidence" and a modality, or "medpatch".
  """
  if run.warm is None:
    return params
  out, taken = _take(run, params, part)
  file = run.config.workdir / "init_from" / f"{'-'.join(part)}.txt"
  if run.parallel.first:
    files.write_text(file, taken.text())
  own = [*taken.rows, *taken.new]
  logger.info(
    "%s: %d of %d tensors from --init_from%s; all in %s",
    "/".join(part),
    len(taken.whole),
    len(taken.whole) + len(own),
    f", not {names.listed(map('/'.join, own))}" if own else "",
    file,
  )
  return out


def _take(run: Run, params, part) -> tuple[dict, warm.Taken]:
  """Parameters of a part with what --init_from has, and what that was."""
  source, m = run.warm, part[-1]
  kind = run.config.kinds.get(m)
  found = source.part(*part, like=params, kind=kind)
  if source.labels != tuple(run.labels):
    # A classifier of as many other labels would fit by shape.
    found = {k: v for k, v in found.items() if k == "encoder"}
  columns = ()
  if part[0] == "encoder" and kind == "series":
    columns = run.channels_of(m).columns()
  return warm.take(params, found, source.columns(m), columns)


def init(module, batch, run: Run, **how) -> dict:
  """Parameters as host arrays, a function of the seed alone."""
  key = jax.random.key(run.config.settings.seed, impl="threefry2x32")
  variables = jax.jit(functools.partial(module.init, **how))(key, batch)
  return jax.device_get(variables["params"])
