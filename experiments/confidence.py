"""Does token confidence tell what is real? Of a run on the synthetic twin.

  python -m experiments.confidence --workdir=RUN --truth=RAW

holds the confidence of every token of the test split against the places in
which the twin planted evidence and noise (RAW/places.parquet): how many of each
are in the low group, by threshold, and how well confidence tells evidence from
the rest and from noise (AUROC), before and after every kind of temperature.
Prints the tables and writes RUN/confidence.json and RUN/confidence.md. The run
needs its stages up to `confidence`, no fusion.

Confidence is label by label, so there are two views: of the planted label (the
confidence of a label against the places of this label, then the mean over
labels), and of the mean confidence over labels (against the places of any).
Beside confidence stands the distance of a token's logit from that of the
label's base rate: a rare label is denied with confidence by every token that
knows nothing.

Dims: N stays, T tokens, C labels, n tokens of all stays.
"""

import os

import jax.numpy as jnp
import numpy as np
from absl import flags

from data.synthetic import model, places
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.tables import planted
from experiments.training import temperature
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import calibrate, files
from medpatch_jax.evaluate import planted as evaluate
from medpatch_jax.train.log import logger

DISTANCE = "distance from base rate"


def check(stages: Stages) -> None:
  """Refuses a run of which there is nothing to measure.

  Raises:
    ValueError: no confidence, no places known, or a stage did not end.
  """
  config = stages.config
  if config.task not in model.EVIDENCE:
    raise ValueError(
      f"--workdir: is a run on {config.task}; places are planted for"
      f" {' and '.join(model.EVIDENCE)} alone."
    )
  if config.model != "medpatch":
    raise ValueError(
      f"--workdir: holds a run of --model={config.model}, which has no token"
      " confidence; give one of medpatch."
    )
  stages.check_complete("calibrate")


def measure(stages: Stages, path) -> dict:
  """What the tables hold, JSON-ready.

  Args:
    stages: a run with its token confidence.
    path: places.parquet of the twin that its records are built from.
  """
  where = places.read(path, stages.config.task)
  return {
    "thresholds": list(evaluate.THRESHOLDS),
    "calibration": stages.config.calibration,
    "modalities": {
      m: _modality(stages, m, where)
      for m in stages.config.modalities
      if len(stages.run.rows("test", m))
    },
  }


def _modality(stages, m, where):
  """Name of a score -> as of `evaluate.measure`."""
  run = stages.run
  params = {"encoder": stages.encoder(m), "confidence": stages.confidence(m)}
  logits, mask, _ = temperature.token_logits(stages, m, "test", params)
  kind = planted.kinds(run, m, "test", where)[mask]
  logger.info("confidence/%s: %s tokens", m, f"{len(kind):,}")
  out = {}
  for name, of in _temperatures(stages, m, params).items():
    z = np.asarray(calibrate.apply(jnp.asarray(logits), of))[mask]
    # max(p, 1 - p), in double: near 1 single precision would make ties.
    sure = 1 / (1 + np.exp(-np.abs(z.astype(np.float64))))
    out[name] = evaluate.measure(sure, kind)
  far = np.abs(logits[mask] - run.base_rate())
  out[DISTANCE] = evaluate.measure(far, kind, ())
  return out


def _temperatures(stages, m, params):
  """Kind of calibration -> Temperature, fitted on validation."""
  config = stages.config
  validation = temperature.token_logits(stages, m, "validation", params)
  out = {}
  for kind in calibrate.KINDS:
    if kind == config.calibration:
      out[kind] = stages.temperature(m)
      continue
    out[kind], _ = calibrate.fit(
      *validation,
      kind,
      batch_size=config.batch_size,
      steps=config.calibration_steps,
      seed=config.settings.seed,
    )
  return out


def main(argv) -> None:
  del argv
  path = flags.FLAGS.truth
  if not path:
    raise ValueError("--truth: wanted, the folder of the twin's raw files.")
  if os.path.basename(path) != places.NAME:
    path = os.path.join(path, places.NAME)
  config = Config.from_workdir(flags.FLAGS.workdir, flags.FLAGS.share)
  stages = Stages(Run(config))
  check(stages)
  found = measure(stages, path)
  text = evaluate.markdown(found)
  files.write_json(config.workdir / "confidence.json", found)
  files.write_text(config.workdir / "confidence.md", text)
  print(text)


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of a trained run.")
  flags.DEFINE_string("share", None, "Folder it shared its encoders in.")
  flags.DEFINE_string("truth", None, "Folder of the twin's raw files.")
  experiment_flags.run(main)
