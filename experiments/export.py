"""Writes a trained run in a form that others can use.

  python -m experiments.export --workdir=RUN --out=DIR [--onnx=48,128]
  python -m experiments.export --workdir=RUN --format=authors --out=FILE.pth.tar

folder: everything a prediction from raw input needs, for `medpatch_jax.load`,
and for others as programs (docs/export.md).

authors: a checkpoint that the authors' PyTorch code (nyuad-cai/MedPatch,
f33c5ed) loads, and that `experiments.train --authors=FILE` goes on from.
"""

import dataclasses
import importlib.metadata
import pathlib
import tempfile

import numpy as np
from absl import flags

from experiments import evaluate
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.training import from_authors
from experiments.training.models import parameters
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import schema
from medpatch_jax.evaluate import disclosure, report
from medpatch_jax.export import artefact, authors, card, onnx_file, programs
from medpatch_jax.input import dataset, places, series
from medpatch_jax.train.log import logger

FORMATS = ("folder", "authors")
# Flags that name a place on this machine.
PACKAGES = ("medpatch-jax", "jax", "jaxlib", "flax", "numpy", "tokenizers")


def to_folder(stages: Stages, out, onnx=()) -> None:
  """Writes the run as a folder, whole or not at all.

  Args:
    stages: a MedPatch run whose stages are complete.
    out: the folder; must not be there yet.
    onnx: lengths of a series, in hours, that an ONNX file is made for.

  Raises:
    ValueError: a baseline, or lengths that are none of the run's.
  """
  if stages.config.model != "medpatch":
    raise ValueError(
      f"--format=folder: a run of --model={stages.config.model} was given, only"
      " MedPatch is exported."
    )
  run = stages.run
  # Nothing is rematerialised where nothing is learned.
  architecture = dataclasses.replace(stages.architecture, remat=False)
  params = parameters(stages)
  config, result = describe(stages)
  config["programs"], files = [], {}
  lengths = programs.hours(architecture.kinds, run.shapes)
  wrong = [n for n in onnx if n not in lengths]
  if wrong:
    known = ", ".join(map(str, lengths))
    raise ValueError(f"--onnx={wrong[0]}: wanted hours of {known}.")
  made = [("stablehlo", n, programs.stablehlo) for n in lengths]
  made += [("onnx", n, onnx_file.write) for n in onnx]
  for kind, hours, make in made:
    name = f"{kind}/model{f'-{hours}h' if hours else ''}.{kind}"
    logger.info("export: %s", name)
    files[name] = make(architecture, params, config["head"], run.shapes, hours)
    dtype = "float32" if kind == "onnx" else architecture.dtype
    entry = {"file": name, "hours": hours or None, "dtype": dtype}
    config["programs"].append(
      entry | programs.signature(architecture, run.shapes, hours)
    )
  files[artefact.PARAMS] = artefact.pack(params)
  files[artefact.CONFIG] = artefact.packed_json(config)
  files[artefact.CARD] = card.text(
    config, result, stages.config.training()
  ).encode()
  if "text" in architecture.kinds.values():
    with tempfile.TemporaryDirectory() as folder:
      run.tokeniser.save(folder)
      file = pathlib.Path(folder) / "tokenizer.json"
      files[artefact.TOKENIZER] = file.read_bytes()
  artefact.write(out, files)


def describe(stages: Stages) -> tuple[dict, dict | None]:
  """(config.json but for `programs`, results.json or None)."""
  run, config = stages.run, stages.config
  scored = config.workdir / "results.json"
  result = report.read(scored) if scored.exists() else None
  if result is None:
    logger.info(
      "export: the run was not scored, so the card has no numbers; for them,"
      " python -m experiments.evaluate --workdir=%s first",
      config.workdir,
    )
  metadata = run.data.metadata
  source = metadata["source_version"]
  kind = "other"
  if run.data.open:
    kind = "open" if metadata.get("license") else "twin"
  elif metadata["rules"]:
    kind = "twin" if "synthetic" in source else "mimic"
  return {
    **_vocabulary(run, stages.architecture),
    "format": artefact.FORMAT,
    "task": config.task,
    "hourly": run.data.description.hourly,
    "architecture": dataclasses.replace(
      stages.architecture, remat=False
    ).to_json(),
    "head": result["chosen"] if result else evaluate.validated(stages)["head"],
    "shapes": dataclasses.asdict(run.shapes),
    "embeddings": {m: run.data.embeddings[m] for m in run.shapes.tokens},
    "series": series.Recipe.of(metadata).to_json() | run.channels.to_json(),
    "reliability": _reliability(result),
    "dataset": {
      "source": source,
      "kind": kind,
      "license": metadata.get("license"),
      "digest": run.data.fingerprint,
      "splits": {split: _size(run, split) for split in dataset.SPLITS},
    },
    "versions": {name: _version(name) for name in PACKAGES},
  }, result


def _version(package: str) -> str:
  """Its version; this one's too where it runs from a clone, not installed."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "unknown (not installed)"


def _vocabulary(run: Run, architecture) -> dict:
  """Where the vocabulary of the texts comes from, where there are texts."""
  if "text" not in architecture.kinds.values():
    return {}
  vocabulary = run.vocabulary()
  if vocabulary["from"] == "train" and vocabulary["patients"] is None:
    logger.warning(
      "export: the run's vocabulary is of a version that kept words of single"
      " patients, names among them; train a new run before the folder is given"
      " away"
    )
  return {"vocabulary": vocabulary}


def _size(run: Run, split: str) -> dict:
  """Stays of a split as they may be shown, and of an hourly task its rows."""
  rows, at = run.rows(split), run.data.hour(split)
  if at is None:
    return {"stays": run.size(split, rows).rows}
  stays, first = np.unique(at[0][rows], return_index=True)
  subject = run.data.subject(split)[rows][first]
  whole = len(np.unique(at[0]))
  return {
    "stays": disclosure.Sizes(run.rule, subject, whole).rows,
    "hours": run.size(split, rows).rows,
  }


def _reliability(result) -> list:
  """Of each label, its reliability curve on the test split, or None."""
  if not result or not result["calibration"]:
    return []
  return [c["reliability"] for c in result["calibration"]["per_label"]]


def to_authors(stages: Stages, path) -> None:
  """Writes the run as an authors' checkpoint, whole or not at all.

  Raises:
    ValueError: their code has no such model; says what it lacks.
  """
  config = stages.config
  if own := [m for m in config.modalities if m not in schema.MODALITIES]:
    raise ValueError(
      f"--format=authors: their code knows {', '.join(schema.MODALITIES)}, not"
      f" {', '.join(own)}; leave --format out."
    )
  if config.finetune_encoders:
    raise ValueError(
      "--format=authors: their code has one copy of each encoder, a run with"
      " --finetune_encoders has two."
    )
  if config.ehr != "lstm":
    raise ValueError(
      f"--format=authors: their fusion takes --ehr=lstm, not {config.ehr}."
    )
  if config.late_pooling != "mean":
    raise ValueError(
      "--format=authors: their late module takes a mean, this run was trained"
      f" with --late_pooling={config.late_pooling}."
    )
  if config.fuser == "bilinear":
    raise ValueError(
      "--format=authors: their joint module has no products, this run was trained"
      " with --fuser=bilinear."
    )
  if not config.classifier_norm:
    raise ValueError(
      "--format=authors: their classifiers have a LayerNorm, this run was trained"
      " with --noclassifier_norm."
    )
  tree = {"medpatch": stages.fuse()}
  for part in ("encoder", "confidence", "temperature"):
    tree[part] = {}
  for m in config.modalities:
    fitted = stages.temperature(m)
    tree["encoder"][m] = stages.encoder(m)["encoder"]
    tree["confidence"][m] = stages.confidence(m)
    tree["temperature"][m] = authors.pad_temperature(
      fitted.position, fitted.label, m
    )
  authors.write(path, tree, from_authors.form(stages.run), config.sizes.width)


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  out = pathlib.Path(values.out or "")
  if not values.out or out.exists():
    raise ValueError(f"--out={values.out}: wanted a name not taken yet.")
  places.writable("out", out)
  for word in values.onnx:
    if not word.isdecimal():
      raise ValueError(f"--onnx={word}: wanted hours, whole numbers.")
  if values.onnx:
    onnx_file.check_installed()
  config = Config.from_workdir(values.workdir, values.share)
  stages = Stages(Run(config))
  stages.check_complete()
  if values.format == "authors":
    to_authors(stages, out)
  else:
    to_folder(stages, out, [int(n) for n in values.onnx])
  print(out)


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of a trained run.")
  flags.DEFINE_string("share", None, "Folder it shared its encoders in.")
  flags.DEFINE_enum("format", "folder", FORMATS, "What to write.")
  flags.DEFINE_string("out", None, "Name of the folder or file to write.")
  flags.DEFINE_list(
    "onnx",
    [],
    "Hours of a series that ONNX files are made for, beside the rest; 0 where"
    " there is no series.",
  )
  experiment_flags.run(main)
