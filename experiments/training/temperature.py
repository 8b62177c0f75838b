"""Stage 2b: temperatures of one modality's confidences, and what they mend.

Dims: N stays of a split, T tokens, C labels.
"""

import jax
import numpy as np

from experiments.training import cache, models
from experiments.training.run import once
from medpatch_jax import calibrate, medpatch
from medpatch_jax.evaluate import tokens
from medpatch_jax.train import store
from medpatch_jax.train.log import logger

STAYS = 64  # Whose tokens are counted at a time.


def of(stages, m: str) -> calibrate.Temperature:
  """Temperatures fitted on validation, all else frozen; computed once."""
  params = {"encoder": stages.encoder(m), "confidence": stages.confidence(m)}

  def write(writer):
    logits, mask, label = token_logits(stages, m, "validation", params)
    if stages.run.parallel.first:
      found = _fit(stages, m, logits, mask, label)
      for name, value in found.items():
        writer.allocate(name, value.shape, value.dtype)[...] = value

  key = stages.key("calibrate", m) | {"params": store.digest(params)}
  found = cache.stored(stages, stages.folder("calibrate", m), key, write)
  return calibrate.Temperature(
    np.array(found["position"]), np.array(found["label"])
  )


def _fit(stages, m, logits, mask, label) -> dict[str, np.ndarray]:
  run, config = stages.run, stages.config
  temperature, fitted = calibrate.fit(
    logits,
    mask,
    label,
    config.calibration,
    batch_size=config.batch_size,
    steps=config.calibration_steps,
    seed=config.settings.seed,
  )
  shown = ~run.few("validation", run.rows("validation", m))
  errors = "-"
  if shown.any():
    before, after = (fitted[k][shown].mean() for k in ("before", "after"))
    errors = f"{before:.4f} -> {after:.4f}"
  logger.info(
    "calibrate/%s: epoch %d of %d, calibration error %s",
    m,
    fitted["epoch"],
    fitted["epochs"],
    errors,
  )
  return {
    "position": np.asarray(temperature.position),
    "label": np.asarray(temperature.label),
  }


def program(stages, m: str):
  """Tokens' logits of stage 2, for passes over any split: compiled once."""
  model, head = stages.architecture.unimodal(m), stages.architecture.head()

  def forward(params, frozen, batch, key):
    _, out = model.apply({"params": params["encoder"]}, batch)
    encoded = out["encoded"]
    logits = head.apply({"params": params["confidence"]}, encoded.tokens)
    return 0.0, 1.0, {"logits": logits, "mask": encoded.mask}

  return stages.mapped(forward)


def token_logits(stages, m, split, params):
  """Of a split: logits f32[N T C], mask bool[N T] and labels f32[N C].

  The logits lie on disk: at MIMIC's size they may take a gigabyte.
  """
  run = stages.run
  batches = stages.input(split, m)
  N, T = len(batches.rows), models.positions(run, m, split)
  scratch = store.Writer(
    stages.workdir / "calibrate" / f"{m}-{split}", run.parallel
  )
  shape = (N, T, len(run.labels))
  logits = scratch.allocate("logits", shape, np.float32)
  mask = np.zeros((N, T), bool)
  arrays = {"logits": logits, "mask": mask}
  stages.fill(arrays, stages.token_program(m), params, batches)
  scratch.drop()
  return logits, mask, run.label(split)[batches.rows]


def errors(stages, m: str, split: str) -> dict[str, np.ndarray]:
  """What one modality's confidence is worth, before and after temperatures.

  Computed once, in a pass over the stays that have the modality.

  Returns:
    `before` and `after`, f64[C] of `calibrate.ece`; `sure` f32[N C], the mean
    confidence of each stay's tokens before; and what `tokens.Shares` counts.
  """
  params = {"encoder": stages.encoder(m), "confidence": stages.confidence(m)}
  temperature = stages.temperature(m)
  divided = medpatch.divides(
    m, len(stages.run.labels), stages.config.as_released
  )

  def write(writer):
    logits, mask, label = token_logits(stages, m, split, params)
    if not stages.run.parallel.first:
      return
    before = calibrate.ece(logits, mask, label)
    after = calibrate.ece(logits, mask, label, temperature)
    found = {
      "before": before,
      "after": after if divided else before,
      "sure": calibrate.mean_confidence(logits, mask),
    }
    found |= _shares(stages, m, split, logits, mask, temperature)
    for name, value in found.items():
      writer.allocate(name, value.shape, value.dtype)[...] = value

  key = stages.key("calibrate", m, split) | {
    "params": store.digest(params | {"temperature": vars(temperature)}),
    "divided": divided,
    # What the tokens are sorted by decides how many are in the high group.
    "confidence": stages.config.confidence,
    "threshold": stages.config.threshold[m],
  }
  folder = stages.folder("token_calibration", m, split)
  return cache.stored(stages, folder, key, write)


@once
def _sorter(stages, m):
  """Token logits -> confidence before and after, and the high group."""
  shape = stages.architecture

  @jax.jit
  def sort(logits, mask, temperature):
    temperature = calibrate.Temperature(**temperature)
    after = medpatch.calibrated(logits, temperature, m, shape.released)
    _, high = medpatch.groups(
      after,
      mask,
      threshold=shape.thresholds[m],
      kind=shape.confidence,
      base_rate=shape.base_rate,
      released=shape.released,
    )
    return calibrate.confidence(logits), calibrate.confidence(after), high

  return sort


def _shares(stages, m, split, logits, mask, temperature):
  """How many tokens are how confident; some stays at a time."""
  run, sort = stages.run, _sorter(stages, m)
  patient = run.data.subject(split)[run.rows(split, m)]
  counted, size = tokens.Shares(len(run.labels), patient), STAYS
  for start in range(0, len(mask), size):
    some = slice(start, start + size)
    real = mask[some]
    fill = ((0, size - len(real)), (0, 0))  # One shape, one program.
    padded = np.pad(logits[some], (*fill, (0, 0))), np.pad(real, fill)
    got = sort(*padded, vars(temperature))
    counted.add(*(np.asarray(x)[: len(real)] for x in got), real)
  return counted.found()
