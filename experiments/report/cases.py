"""Single stays as the model saw them: tokens, confidence, how it was decided.

They are patients' data: of data that are not open a page has none, unless a
flag says so.

Dims: B stays, T tokens, C labels, S sources of the late module.
"""

import base64
import functools
import io
import pathlib

import jax
import numpy as np
from PIL import Image

from data.synthetic import places
from experiments.training import models
from experiments.training.run import once
from medpatch_jax import medpatch, schema
from medpatch_jax.evaluate.names import shorten
from medpatch_jax.input import examples

MOST_BYTES = 6 * 2**20  # Of all stays of a page together.
MOST_TEXT = 40_000  # Characters of a note that are shown.
STEPS = 10_000  # Confidence is kept in whole steps, rounded down.
PER_SD = 40  # Steps of a value in a standard deviation.


def build(stages, count: int, chosen: str, truth=None) -> dict:
  """Some stays of the test split, JSON-ready.

  Args:
    stages: a MedPatch run whose stages are complete.
    count: how many at most; fewer where they would take too many bytes.
    chosen: the head that is reported.
    truth: truth.csv of the synthetic twin, beside which its places lie.

  Returns:
    `labels`, `modalities`, `thresholds`, `sources`, `chosen`, `sampling` and
    `cases`; page.js and viewer.js read them.
  """
  run, config = stages.run, stages.config
  rows = sample(run.present("test"), run.rows("test"), count)
  found = look(stages, rows, chosen)
  where = {}
  if truth:
    path = pathlib.Path(truth).with_name(places.NAME)
    where = places.read(path, config.task) if path.exists() else {}
  source = run.data.source("test", ("stay_id", *config.modalities))
  made, size = [], 0
  unit = "hours of stays" if run.data.description.hourly else "stays"
  for i, row in enumerate(rows):
    record = source[int(row)]
    case = _case(stages, i, row, record, found, where)
    size += sum(len(str(part)) for part in case.values())
    if size > MOST_BYTES:
      break
    made.append(case)
  return {
    "labels": [shorten(name) for name in run.labels],
    "modalities": list(config.modalities),
    "titles": {m: schema.TITLES.get(m, m) for m in config.modalities},
    "kinds": dict(config.kinds),
    "thresholds": {m: _threshold(config, m) for m in config.modalities},
    "sources": list(stages.architecture.medpatch().sources),
    "chosen": chosen,
    "planted": bool(where),
    "classes": run.data.description.classes,
    "sampling": f"{len(made)} of {len(run.rows('test')):,} test {unit}, drawn"
    " with a fixed seed, half of them from those that have every modality",
    "cases": made,
  }


def sample(present: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
  """Rows i64[<= count], half of which have every modality if there are some.

  Args:
    present: bool[N M].
    rows: to draw from.
    count: how many.
  """
  rng = np.random.default_rng(0)
  drawn = rng.permutation(rows)
  whole = drawn[present[drawn].all(axis=1)][: (count + 1) // 2]
  rest = drawn[~np.isin(drawn, whole)][: max(0, count - len(whole))]
  return np.concatenate([whole, rest]).astype(np.int64)


@once
def program(stages):
  """Everything that a batch's stays are told by, compiled once.

  Returns:
    `schema.Batch` -> (outputs, late weights, {m: confidence, side, mask}).
  """
  shape = stages.architecture
  params = models.parameters(stages)

  @jax.jit
  def forward(params, batch):
    outputs, out = shape.apply(params, batch)
    said = {}
    for m in shape.modalities:
      unimodal = {"params": params["encoder"][m]}
      encoded = shape.unimodal(m).apply(unimodal, batch)[1]["encoded"]
      head = {"params": params["confidence"][m]}
      logits = medpatch.calibrated(
        shape.head().apply(head, encoded.tokens),
        medpatch.calibrate.Temperature(**params["temperature"][m]),
        m,
        shape.released,
      )
      score, _ = medpatch.groups(
        logits,
        encoded.mask,
        threshold=shape.thresholds[m],
        kind=shape.confidence,
        base_rate=shape.base_rate,
        released=shape.released,
      )
      said[m] = score, logits >= 0, encoded.mask
    return outputs, out["late_weights"], said

  # As an argument: constants of this size would take long to compile.
  return functools.partial(forward, params)


def look(stages, rows, chosen: str) -> dict:
  """All predictions for rows of the test split, and what tokens say.

  Returns:
    Of each row: outputs {head or source: logits f32[C]}; probability f32[C]
    of the chosen head; weights f32[S C] of the late module; tokens {m:
    (confidence f32[T C], does it speak for the label bool[T C], is it real
    bool[T])}.
  """
  run, shape = stages.run, stages.architecture
  forward = program(stages)
  parts = []
  loader = run.loader("test", stages.config.modalities, rows, learn=False)
  for at, batch in loader.epoch():
    real = at >= 0
    got = jax.tree.map(lambda x, real=real: np.asarray(x)[real], forward(batch))
    parts += [
      (place, jax.tree.map(lambda x, i=i: x[i], got))
      for i, place in enumerate(at[real])
    ]
  each = [got for _, got in sorted(parts, key=lambda part: part[0])]
  return {
    "chosen": chosen,
    "outputs": [outputs for outputs, _, _ in each],
    "probability": [
      np.asarray(shape.probability(o[chosen][None]))[0] for o, _, _ in each
    ],
    "weights": [weights for _, weights, _ in each],
    "tokens": [said for _, _, said in each],
  }


def _threshold(config, m) -> float:
  """Of the high group, as a confidence."""
  value = config.threshold[m]
  if config.confidence != "entropy":
    return value
  low, high = 0.5, 1.0 - 1e-9
  for _ in range(40):  # Entropy falls with confidence.
    middle = (low + high) / 2
    bits = -(middle * np.log2(middle) + (1 - middle) * np.log2(1 - middle))
    low, high = (middle, high) if bits > value else (low, middle)
  return round(low, 4)


def steps(score, positive) -> np.ndarray:
  """Confidences f[..] in whole steps, negative where not `positive`: i16."""
  whole = np.floor(np.asarray(score, np.float64) * STEPS).astype(np.int16)
  return np.where(positive, whole, -whole).astype(np.int16)


def _case(stages, i, row, record, found, where) -> dict:
  run, config = stages.run, stages.config
  has = run.present("test")[row]
  stay, label = int(record["stay_id"]), run.label("test")[row]
  modalities = {}
  for m, there in zip(config.modalities, has):
    if not there:
      continue
    score, positive, mask = found["tokens"][i][m]
    T = int(np.flatnonzero(mask).max(initial=-1)) + 1
    shown = SHOWN[config.kinds[m]]
    modalities[m] = {
      "tokens": packed(steps(score, positive)[:T]),
      "mask": packed(mask[:T].astype(np.uint8)),
      "count": T,
      "planted": [
        [places.KINDS[kind], int(label_), *(x for x in span if x is not None)]
        for kind, label_, span in where.get(m, {}).get(stay, [])
      ],
      **shown(stages, m, row, record[m]),
    }
  return {
    "label": [None if np.isnan(x) else int(x) for x in label],
    "probability": _list(found["probability"][i]),
    "modalities": modalities,
    "decision": decision(stages, found, i),
  }


def decision(stages, found, i) -> dict:
  """How the chosen head came to its logits, as sums from the base rate.

  Returns:
    `base`, `final` [C]; `sources`: {"name", "alone" logits, "weight", "part",
    what it adds} of each source that is there; `rest`, what is in none of
    them.
  """
  module = stages.architecture.medpatch()
  outputs, weights = found["outputs"][i], found["weights"][i]
  chosen, final = found["chosen"], found["outputs"][i][found["chosen"]]
  base = stages.run.base_rate()
  # The other heads are means of late and of the joint module's two.
  heads = {"combined": ("high", "late", "low"), "reduced": ("high", "late")}
  parts = heads.get(chosen, (chosen,))
  share = (1 / len(parts)) if "late" in parts else 0.0
  sources = []
  for s, name in enumerate(module.sources):
    weight = share * weights[s]
    if name in parts:
      weight = weight + 1 / len(parts)
    if not np.any(weight) and name in stages.config.modalities:
      continue
    part = weight * (outputs[name] - base)
    sources.append(
      {
        "name": name,
        "alone": _list(outputs[name]),
        "weight": _list(weight),
        "part": _list(part),
      }
    )
  total = sum((np.array(x["part"]) for x in sources), np.zeros(len(base)))
  return {
    "base": _list(base),
    "final": _list(final),
    "sources": sources,
    "rest": _list(final - base - total),
  }


def _series(stages, m, row, stored) -> dict:
  """Values of each hour in standard deviations, and which were measured."""
  channels = stages.run.channels_of(m)
  x = stages.run.fields("test", m, row)["x"]
  stored = np.asarray(stored)[: len(x)]
  pairs = channels.measured()
  values = np.clip(np.round(x[:, [v for v, _ in pairs]] * PER_SD), -127, 127)
  measured = np.stack([stored[:, k] > 0 for _, k in pairs], axis=1)
  first = stages.config.ehr == "transformer"
  return {
    "hours": len(x),
    "unit": "hour",
    "first": int(first),
    "variables": [channels.names[v] for v, _ in pairs],
    "values": packed(values.astype(np.int8)),
    "measured": packed(measured.astype(np.uint8)),
  }


def _image(stages, m, row, stored) -> dict:
  """The radiograph as the encoder sees it."""
  image = np.asarray(stages.run.fields("test", m, row)["image"], np.uint8)
  out = io.BytesIO()
  Image.fromarray(image).save(out, "png", optimize=True)
  sizes = stages.config.sizes
  side = sizes.image_size // sizes.cxr["patch"]
  png = base64.b64encode(out.getvalue()).decode()
  return {"png": f"data:image/png;base64,{png}", "side": side, "first": 1}


def _text(stages, m, row, stored) -> dict:
  """The note, and where in it stands what each token is a mean of."""
  run, text = stages.run, examples.string(stored)
  spans = run.tokeniser.spans(text, run.shapes.window, run.shapes.max_windows)
  window, position = np.nonzero(spans[..., 1] > spans[..., 0])
  places_ = [
    [int(spans[w, p, 0]), int(spans[w, p, 1]), int(p)]
    for w, p in zip(window, position)
  ]
  return {"text": text[:MOST_TEXT], "spans": places_, "read": len(spans)}


def _embedding(stages, m, row, stored) -> dict:
  """As a series without variables, a token in the place of an hour."""
  return {
    "hours": len(stored),
    "unit": "token",
    "first": 0,
    "variables": [],
    "values": packed(np.zeros(0, np.int8)),
    "measured": packed(np.zeros(0, np.uint8)),
  }


SHOWN = {
  "series": _series,
  "image": _image,
  "text": _text,
  "embedding": _embedding,
}


def packed(values: np.ndarray) -> str:
  """An array's bytes, little-endian, as base64."""
  values = np.ascontiguousarray(values)
  return base64.b64encode(
    values.astype(values.dtype.newbyteorder("<")).tobytes()
  ).decode()


def _list(values) -> list[float]:
  return [round(float(x), 4) for x in np.asarray(values)]
