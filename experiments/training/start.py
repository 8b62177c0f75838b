"""What is known before a run starts is refused before it: nothing is written.

Places that can be written, files that can be read, pretrained weights that fit
the preset, stays that have each modality, room on the disk.
"""

import shutil

import jax

from data import resume
from experiments.config.names import RAW
from experiments.training import from_authors, models
from experiments.training.run import Run
from medpatch_jax.export import pretrained, warm
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
  if config.model == RAW:
    return  # It has no encoders.
  sizes = (config.preset, config.ehr, config.dtype, config.as_released)
  for m, kind in config.kinds.items():
    name = {"image": "vit", "text": "bert"}.get(kind)
    path = getattr(config, name) if name else None
    key = (name, path, run.data.path, *sizes)
    if path and not config.authors and key not in _fit:
      fits(run, m, name, path)
      _fit.add(key)
    if run.warm and run.warm.has(m, kind):
      starts(run, m, kind)
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
  like = _shapes(run, m)["encoder"]
  if name == "vit":
    pretrained.vit(path, like["backbone"])
  else:
    run.tokeniser  # noqa: B018
    pretrained.bert(path, like["bert"])


def starts(run: Run, m: str, kind: str) -> None:
  """Refuses an encoder of --init_from that is of another size.

  One of a series may read other columns: then what fits is enough.

  Raises:
    ValueError: names a tensor, and its shapes there and here; or the models
      that made embeddings.
  """
  if kind == "embedding":
    own = run.data.embeddings[m]["model"]
    theirs = run.warm.config["embeddings"][m]["model"]
    if theirs != own:
      raise ValueError(
        f"--init_from={run.config.init_from}: its embeddings of {m} were made by"
        f" {theirs}, those of the dataset by {own}; leave {m} out of"
        " --modalities, or give a model of the same."
      )
  like = _shapes(run, m)
  found = run.warm.part("encoder", m, like=like, kind=kind)
  part = {"encoder": found.get("encoder", {})}
  old, new = run.warm.columns(m), ()
  if kind == "series":
    new = run.channels_of(m).columns()
  if misfit := warm.misfit({"encoder": like["encoder"]}, part, old, new):
    raise ValueError(
      f"--init_from={run.config.init_from}: its encoder of {m} is another than"
      f" this run's: {misfit}; give --preset and the flags of encoders as it"
      f" was made with, or leave {m} out of --modalities."
    )


def _shapes(run: Run, m: str) -> dict:
  """Parameters of stage 1's model, as shapes."""
  model = models.architecture(run, m).unimodal(m)
  key, batch = jax.random.key(0), models.example(run, m)
  return jax.eval_shape(model.init, key, batch)["params"]


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
