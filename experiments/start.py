"""What is known before a run starts is refused before it: nothing is written.

Places that can be written, files that can be read, pretrained weights that fit
the preset, stays that have each modality, room on the disk.
"""

import shutil

import jax

from data import resume
from experiments import flags, from_authors, models
from experiments.run import Run
from medpatch_jax.export import pretrained
from medpatch_jax.input import places

_fit: set[tuple] = set()  # Weights that were looked at and fit.


def check(run: Run) -> None:
  """Refuses a run that could not come to its end.

  Raises:
    ValueError: names the flag, what was found and what was wanted.
  """
  config = run.config
  places.a_folder("workdir", config.workdir)
  places.a_folder("share", config.share)
  seen(run)
  if config.model == flags.RAW:
    return  # It has no encoders.
  sizes = (config.preset, config.ehr, config.dtype, config.as_released)
  for m, kind in config.kinds.items():
    name = {"image": "vit", "text": "bert"}.get(kind)
    path = getattr(config, name) if name else None
    key = (name, path, run.data.path, *sizes)
    if path and not config.authors and key not in _fit:
      fits(run, m, name, path)
      _fit.add(key)
  if config.authors:
    for m in config.modalities:
      from_authors.unimodal(run, m)
      from_authors.confidence(run, m)
      from_authors.temperature(run, m)
    from_authors.medpatch(run)


def seen(run: Run) -> None:
  """Refuses a modality that nothing of the train split is left of.

  Raises:
    ValueError: names it.
  """
  absent = [
    m
    for m in run.config.modalities
    if not len(run.rows("train", m, "encoders"))
  ]
  if absent:
    raise ValueError(
      f"{run.data.path}: no stay that encoders would learn from has"
      f" {', '.join(absent)}; leave it out with --modalities, or give"
      " --train_fraction, --held_out, --missing_train and --pairs other values."
    )


def fits(run: Run, m: str, name: str, path) -> None:
  """Reads pretrained weights, and drops them: shapes are all that is asked.

  Raises:
    ValueError: they are unreadable, or of another size than the preset's.
  """
  model = models.architecture(run, m).unimodal(m)
  key, batch = jax.random.key(0), models.example(run, m)
  like = jax.eval_shape(model.init, key, batch)["params"]["encoder"]
  if name == "vit":
    pretrained.vit(path, like["backbone"])
  else:
    run.tokeniser  # noqa: B018
    pretrained.bert(path, like["bert"])


def room(stages, needed: int) -> None:
  """Refuses what is kept of encoders where the disk has no room for it.

  Args:
    stages: of a run; what it has kept before is not needed again.
    needed: bytes in all.

  Raises:
    ValueError: says how much is needed and is free.
  """
  root = stages.config.share or stages.workdir
  there = sum(
    p.stat().st_size
    for kind in ("hidden", "pools", "encodings")
    for p in (root / kind).rglob("*.npy")
  )
  free = shutil.disk_usage(root if root.exists() else stages.workdir).free
  if needed - there > free:
    raise ValueError(
      f"{root}: {resume.size(needed - there)} of disk are needed for what is kept"
      f" of encoders, {resume.size(free)} are free; make room, or pass"
      f" --cache_gb={free / 2e9:.0f} (or less), which makes anew in every epoch"
      " what does not fit."
    )
