"""Configuration -> modules and their initial parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import flags
from experiments.run import Run, once
from medpatch_jax import baselines, calibrate, schema
from medpatch_jax.baselines import raw
from medpatch_jax.export import authors, names, pretrained, released, warm
from medpatch_jax.input import dataset, examples
from medpatch_jax.medpatch import init_from_stage1
from medpatch_jax.pipeline import Architecture
from medpatch_jax.train import checkpoint, freeze
from medpatch_jax.train.log import logger


def dtype(run: Run):
  """Of matrix products; parameters are float32 always."""
  return jnp.dtype(run.config.dtype)


@once
def architecture(run: Run) -> Architecture:
  """MedPatch at the preset's size: encoders, confidence and fusion."""
  config = run.config
  return Architecture(
    kinds=config.kinds,
    labels=run.labels,
    width=config.sizes.width,
    encoders={m: _encoder(run, m) for m in config.modalities},
    thresholds=config.thresholds,
    confidence=config.confidence,
    fuser=config.fuser,
    without=config.without,
    late_pooling=config.late_pooling,
    released=config.as_released,
    flag_order=config.flag_order,
    classes=run.data.description.classes,
    dtype=config.dtype,
    remat=config.remat,
    classifier_norm=config.classifier_norm,
  )


def _encoder(run: Run, m: str) -> dict:
  """Name and sizes of one modality's encoder, as `Architecture` has them."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "series" and run.config.ehr == "transformer":
    return {"name": "transformer", **sizes.ehr}
  if kind == "series":
    return {"name": "lstm", "dropout": run.config.ehr_dropout}
  if kind == "image":
    return {"name": "vit", "image_size": sizes.image_size, **sizes.cxr}
  tokeniser = run.tokeniser
  special = {n: getattr(tokeniser, n) for n in ("pad", "cls", "sep")}
  return {"name": "bert", **special, **text_sizes(run)}


@once
def text_sizes(run: Run) -> dict[str, int]:
  """Sizes of the text encoder: --bert's or --init_from's, else the preset's.

  Raises:
    ValueError: the pretrained encoder's windows are shorter than the preset's.
  """
  config, sizes = run.config, run.config.sizes
  found, where = None, f"--bert={config.bert}"
  if config.bert:
    found = pretrained.bert_sizes(config.bert)
  elif run.warm:
    found, where = run.warm.text_sizes(), f"--init_from={config.init_from}"
  if not found:
    return sizes.text | {
      "vocab_size": run.tokeniser.vocab_size,
      "positions": sizes.window,
    }
  if found["positions"] < sizes.window:
    raise ValueError(
      f"{where}: config.json has {found['positions']} positions,"
      f" --preset={config.preset} reads windows of {sizes.window} pieces; give"
      " another model or preset."
    )
  return found


# Baselines that are stage 1 put together: nothing of them learns.
WHOLE = ("late", "unimodal")


def baseline(run: Run, encoded: bool = False):
  """The baseline of --model at the preset's size.

  Args:
    run: open.
    encoded: its batches hold what the encoders make of the input.

  Raises:
    ValueError: it is not defined for these modalities.
  """
  config = run.config
  of = config.model.removesuffix("_raw")
  fields = dict(config.sizes.baselines.get(of, {}))
  if config.model == "metra":
    fields["lengths"] = {m: _longest(run, m) for m in config.modalities}
    fields["unprojected"] = tuple(
      m for m, kind in config.kinds.items() if kind == "series"
    )
  if config.model == "late":
    fields["released"] = config.as_released
  if config.model in WHOLE:
    fields["classifier_norm"] = config.classifier_norm
  # A single modality is a mean over one.
  name = {"unimodal": "late", flags.RAW: "healnet"}.get(config.model)
  make = raw_encoder if config.model == flags.RAW else _module
  if encoded:
    make = _ready
  return baselines.build(
    name or config.model,
    modalities=config.modalities,
    encoders={m: make(run, m) for m in config.modalities},
    num_labels=len(run.labels),
    dtype=dtype(run),
    **fields,
  )


def _ready(run: Run, m: str):
  return baselines.Ready(run.config.as_released)


def _module(run: Run, m: str):
  return architecture(run).encoder(m)


def raw_encoder(run: Run, m: str):
  """Raw input of one modality as tokens, for HEALNet alone."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "series":
    return raw.Series()
  if kind == "image":
    return raw.Image(side=sizes.image_size // 8)  # 8 x 8 pixels a cell.
  return raw.Pieces(run.tokeniser.vocab_size, sizes.text["width"])


def _longest(run: Run, m: str) -> int:
  """The most tokens of a stay of any split, padding included."""
  if run.config.kinds[m] != "series":
    return positions(run, m, "train")
  hours = max(int(run.data.hours(s).max(initial=1)) for s in dataset.SPLITS)
  padded = examples.bucket(hours, run.shapes.hour_buckets)
  return padded + (run.config.ehr == "transformer")


def start_baseline(run: Run, model, stage1: dict[str, dict]) -> dict:
  """Initial parameters of `model`, a baseline; stage 1's where it has them."""
  rows = {m: example(run, m) for m in run.config.modalities}
  ready = any(isinstance(e, baselines.Ready) for e in model.encoders.values())
  batch = next(iter(rows.values())).replace(
    inputs={
      m: _blank_encoding(run, m) if ready else one.inputs[m]
      for m, one in rows.items()
    }
  )
  params = _init(model, batch, run, train=False)
  return baselines.pretrained(params, stage1)


@once
def start(run: Run, m: str) -> dict:
  """Initial parameters of stage 1's model, pretrained where --bert or --vit is."""
  params = _init(architecture(run).unimodal(m), example(run, m), run)
  encoder_params = params["encoder"]
  kind, config = run.config.kinds[m], run.config
  if kind == "text" and config.bert:
    like = encoder_params["bert"]
    encoder_params["bert"] = pretrained.bert(config.bert, like)
  if kind == "image" and config.vit:
    like = encoder_params["backbone"]
    encoder_params["backbone"] = pretrained.vit(config.vit, like)
  return warmed(run, params, "encoder", m)


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
    checkpoint.write_text(file, taken.text())
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
  source, kind = run.warm, run.config.kinds.get(part[-1])
  found = source.part(*part, like=params, kind=kind)
  if source.labels != tuple(run.labels):
    # A classifier of as many other labels would fit by shape.
    found = {k: v for k, v in found.items() if k == "encoder"}
  columns = ()
  if part[0] == "encoder" and kind == "series":
    columns = run.channels.columns()
  return warm.take(params, found, source.columns, columns)


@once
def authors_tree(run: Run) -> dict:
  """What --authors holds, as export/released.py lays it out.

  Raises:
    ValueError: a model of another kind, size or task.
  """
  return authors.read(run.config.authors, form(run), run.config.sizes.width)


def form(run: Run) -> released.Form:
  """What the authors' names of this run's parameters depend on."""
  config = run.config
  return released.Form(
    config.modalities,
    len(run.labels),
    fuser=config.fuser,
    without=config.without,
    flag=config.flag_order,
  )


def authors_unimodal(run: Run, m: str) -> dict:
  """Parameters of stage 1's model from --authors, where late's classifiers are."""
  like = _init(architecture(run).unimodal(m), example(run, m), run)
  tree = authors_tree(run)
  classifier = tree["medpatch"].get(f"classifier_{m}", like["classifier"])
  found = {"encoder": tree["encoder"][m], "classifier": classifier}
  return _like(run, like, found, f"encoder {m}")


def authors_confidence(run: Run, m: str) -> dict:
  """Parameters of `confidence` from --authors."""
  found = authors_tree(run)["confidence"][m]
  return _like(run, start_confidence(run, m), found, f"confidence {m}")


def authors_temperature(run: Run, m: str) -> calibrate.Temperature:
  """Temperatures from --authors; positions past their table are divided by 1."""
  table = np.asarray(authors_tree(run)["temperature"][m], np.float32)
  return calibrate.Temperature(table, np.ones(table.shape[1], np.float32))


def _like(run: Run, like, found, what: str = "fusion"):
  """`found`, if it has the paths and shapes of `like`.

  Raises:
    ValueError: names the first that differ, both shapes and what to do.
  """
  shapes = [
    {jax.tree_util.keystr(k): np.shape(x) for k, x in flat}
    for flat in map(jax.tree_util.tree_leaves_with_path, (like, found))
  ]
  for path in sorted(set(shapes[0]) | set(shapes[1])):
    want, got = (s.get(path, "none") for s in shapes)
    if want != got:
      raise ValueError(
        f"{run.config.authors}: {what}{path} has shape {got}, this run's model"
        f" {want}; pass the --preset, --bert and --vit sizes it was made with."
      )
  return found


def start_confidence(run: Run, m: str) -> dict:
  """Initial parameters of stage 2's model on the tokens of one encoder."""
  tokens = np.zeros((1, 1, token_width(run, m)), np.float32)
  params = _init(architecture(run).head(), tokens, run)
  return warmed(run, params, "confidence", m)


def start_medpatch(run: Run, stage1: dict[str, dict]) -> dict:
  """Initial parameters of stage 3's model, projections taken from stage 1."""
  blank = blank_pools(run)
  inputs = {
    m: schema.Pool(**{k: np.zeros((1, *s), d) for k, (s, d) in v.items()})
    for m, v in blank.items()
  }
  present = np.zeros((1, len(inputs)), bool)
  label = np.zeros((1, len(run.labels)), np.float32)
  batch = schema.Pools(inputs, present, label, np.zeros((1,), np.float32))
  params = _init(architecture(run).medpatch(), batch, run)
  if run.config.authors:
    return _like(run, params, authors_tree(run)["medpatch"])
  params = init_from_stage1(params, stage1)
  # New predictions start by saying the base rate of every stay (in a sum of
  # evidence: nothing), so that late starts from the trained ones without noise.
  # Even odds would pull stays with few modalities up, where the new ones are
  # more of the mean.
  says = base_rate(run)
  if run.config.late_pooling == "sum":
    params["late"]["prior"], says = says, np.zeros_like(says)
  for name in {"missingness", "low", "high"} & params.keys():
    dense = params[name]["classifier"]["dense"]
    kernel = np.zeros_like(dense["kernel"])
    params[name]["classifier"]["dense"] = {"kernel": kernel, "bias": says}
  return warmed(run, params, "medpatch")


def base_rate(run: Run) -> np.ndarray:
  """Log odds f32[C] of each label in the train split; of classes, the log.

  As if one more stay had the label and one had not, so that it is finite.
  """
  label = run.label("train")[run.rows("train")].astype(np.float64)
  share = (label.sum(axis=0) + 1) / (len(label) + 2)
  other = 1.0 if run.data.description.classes else 1 - share
  return np.log(share / other).astype(np.float32)


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
  learn, _ = freeze.split(start(run, m), still)
  return "bert" not in learn.get("encoder", {})


@once
def _kept(run: Run, m: str) -> frozenset:
  """Paths of an encoder that --freeze keeps: those --init_from brings whole."""
  blank = _init(architecture(run).unimodal(m), example(run, m), run)
  taken = _take(run, blank, ("encoder", m))[1]
  return frozenset(path for path in taken.whole if path[0] == "encoder")


def token_width(run: Run, m: str) -> int:
  """D, width of an encoder's tokens."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "text":
    return text_sizes(run)["width"]
  return sizes.width if kind == "series" else sizes.cxr["width"]


def positions(run: Run, m: str, split: str) -> int:
  """T, the most tokens a stay of the split can have."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "series":
    hours = int(run.data.hours(split)[run.rows(split, m)].max(initial=1))
    return hours + (run.config.ehr == "transformer")  # Its class token.
  if kind == "image":
    return 1 + (sizes.image_size // sizes.cxr["patch"]) ** 2
  return sizes.window


def example(run: Run, m: str) -> schema.Batch:
  """A batch of one row of zeros, to initialise from."""
  shapes, kind = run.shapes, run.config.kinds[m]
  if kind == "series":
    hours = shapes.hour_buckets[0]
    fields = {
      "x": np.zeros((1, hours, shapes.columns), np.float32),
      "mask": np.ones((1, hours), bool),
    }
  elif kind == "image":
    size = shapes.image_size
    fields = {"image": np.zeros((1, size, size), np.uint8)}
  else:
    fields = {
      "piece": np.zeros((1, 1, shapes.window), np.int32),
      "mask": np.ones((1, 1, shapes.window), bool),
    }
  present = np.ones((1, len(run.config.modalities)), bool)
  label = np.zeros((1, len(run.labels)), np.float32)
  return schema.Batch({m: fields}, present, label, np.ones((1,), np.float32))


def blank_pools(run: Run) -> dict[str, dict[str, tuple]]:
  """Shape of a row and dtype of each field of `schema.Pool`, per modality."""
  C, E = len(run.labels), run.config.sizes.width
  return {
    m: pool_fields(C, token_width(run, m), E, dtype(run))
    for m in run.config.modalities
  }


def pool_fields(labels: int, width: int, joint: int, kind) -> dict[str, tuple]:
  """Shape of a row and dtype of each field of `schema.Pool`.

  Args:
    labels: C.
    width: D, of the tokens.
    joint: E.
    kind: dtype of the pooled tokens, which are nearly all of it.
  """
  pool = ((labels, width), kind)
  each, flag = ((labels,), np.float32), ((labels,), bool)
  return {
    "high": pool,
    "low": pool,
    "has_high": flag,
    "has_low": flag,
    "mean_high": each,
    "mean_low": each,
    "summary": ((joint,), np.float32),
  }


def encoding_fields(run: Run, m: str, split: str) -> dict[str, tuple]:
  """Shape of a row and dtype of what a baseline reads of a frozen encoder."""
  fields = {"summary": ((run.config.sizes.width,), np.float32)}
  if run.config.model in baselines.OF_TOKENS:
    T = positions(run, m, split)
    fields["tokens"] = ((T, token_width(run, m)), dtype(run))
    fields["mask"] = ((T,), np.bool_)
  return fields


def _blank_encoding(run: Run, m: str) -> dict[str, np.ndarray]:
  fields = encoding_fields(run, m, "train")
  return {k: np.zeros((1, *shape), d) for k, (shape, d) in fields.items()}


def _init(module, batch, run: Run, **how) -> dict:
  """Parameters as host arrays, a function of the seed alone."""
  key = jax.random.key(run.config.settings.seed, impl="threefry2x32")
  variables = jax.jit(functools.partial(module.init, **how))(key, batch)
  return jax.device_get(variables["params"])
