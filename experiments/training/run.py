"""An open run: its configuration, records, tokeniser, loaders and devices."""

import contextlib
import functools
import pathlib

import jax
import numpy as np

from experiments.config import Config
from medpatch_jax import files
from medpatch_jax.evaluate import disclosure, metrics, ordinal
from medpatch_jax.export import warm
from medpatch_jax.input import (
  channels,
  dataset,
  examples,
  loader,
  missing,
  tokenise,
  words,
)
from medpatch_jax.train import lock, losses, store
from medpatch_jax.train.log import logger
from medpatch_jax.train.parallel import Parallel

# Beside a trained vocabulary: what it was trained on.
ORIGIN = "origin.json"


class Memory(dict):
  """A dict of examples that takes no more once `limit` bytes are in it."""

  def __init__(self, limit: int):
    super().__init__()
    self._left = limit

  def __setitem__(self, key, example):
    size = sum(np.asarray(x).nbytes for x in jax.tree.leaves(example))
    if size <= self._left:
      self._left -= size
      super().__setitem__(key, example)


# Decoded examples are kept in memory up to this many bytes, for all runs of
# the process; past it they are decoded anew each epoch.
_MEMORY = Memory(2**30)


def once(function):
  """Computes a result of a run or of its stages once.

  It is in the `computed` of the function's first argument, so that it goes when
  that goes.
  """
  name = f"{function.__module__}.{function.__qualname__}"

  @functools.wraps(function)
  def read(of, *args):
    key = (name, *args)
    if key not in of.computed:
      of.computed[key] = function(of, *args)
    return of.computed[key]

  return read


class Run:
  """What every stage of a run shares.

  Attributes:
    computed: what `once` functions of the run returned.
  """

  def __init__(self, config: Config):
    """Opens the dataset.

    Raises:
      ValueError: nothing built there, or the batch does not divide over the
        devices.
    """
    self.config, self.computed = config, {}
    self.data = dataset.Dataset(
      config.data_dir, config.task, config.hours_per_stay or None
    )
    # Token confidence is label by label, whatever the task.
    classes = self.data.description.classes
    self.loss = losses.softmax if classes else losses.bce
    self.labels = self.data.labels
    self.rule = disclosure.Rule(self.data.open)
    self.channels = channels.Channels(
      tuple(self.data.metadata["columns"]),
      self.data.mean,
      self.data.std,
      config.clip_z,
      **{name: getattr(config, name) for name in channels.ADDED},
    )
    series = [m for m, kind in config.kinds.items() if kind == "series"]
    embedded = {
      m: self.data.embeddings[m]
      for m, kind in config.kinds.items()
      if kind == "embedding"
    }
    self.shapes = config.sizes.shapes(
      {m: len(self.channels_of(m).columns()) for m in series}
      | {m: e["width"] for m, e in embedded.items()},
      self.data.description.hours,
      {m: e["tokens"] for m, e in embedded.items()},
    )
    self._check_start()
    self.parallel = Parallel(config.parallel)
    self.parallel.check(config.batch_size, config.settings.accumulate)
    self._windows: dict[tuple, np.ndarray] = {}
    # (modality, split) whose dropped windows were logged.
    self.said: set[tuple] = set()

  @once
  def channels_of(self, m: str) -> channels.Channels:
    """How the series of one modality is read."""
    if len(self.data.series) < 2:
      return self.channels
    return self.channels.of(self.data.series[m])

  @functools.cached_property
  def warm(self):
    """What --init_from holds, a `warm.Source` or alike; None without it."""
    path = self.config.init_from
    return warm.find(path) if path else None

  def _check_start(self) -> None:
    """Refuses what --init_from brings twice, or lacks.

    Raises:
      ValueError: --bert or --vit brings the same encoder, or the text encoder
        would stay at random.
    """
    config, source = self.config, self.warm
    if source is None:
      return
    brings = {"vit": "image" in source.brings}
    brings["bert"] = "text" in source.brings and source.text_sizes()
    for name, there in brings.items():
      if there and getattr(config, name):
        raise ValueError(
          f"--init_from and --{name} both bring an encoder: leave one out."
        )
    for m, kind in config.kinds.items():
      if kind != "text" or config.bert:
        continue
      if source.has(m, kind) and not source.text_sizes():
        raise ValueError(
          f"--init_from={config.init_from}: holds no vocabulary: pass"
          " --bert=DIR, too, the folder of the text encoder it was made with."
        )
      if not source.has(m, kind) and not config.sizes.learn_text:
        raise ValueError(
          f"--init_from={config.init_from}: has no encoder named {m}, and"
          f" --preset={config.preset} does not train one: pass --bert=DIR, give"
          f" the kind of notes the name it had, or leave {m} out of"
          " --modalities."
        )

  @functools.cached_property
  def tokeniser(self) -> tokenise.Tokeniser:
    """That of --bert or --init_from, else one trained on the train notes."""
    if self.config.bert:
      return tokenise.Tokeniser.load(self.config.bert)
    if self.warm and self.warm.tokenizer:
      return tokenise.Tokeniser.load(self.warm.tokenizer)
    folder = self._vocabulary

    def made():
      alone = contextlib.nullcontext()
      if self.config.share:
        alone = lock.shared(folder.with_name(folder.name + ".lock"))
      with alone:
        if not self._has_vocabulary(folder):
          self._train_vocabulary(folder)
        return tokenise.Tokeniser.load(folder)

    return self.parallel.in_turn(made)

  def _has_vocabulary(self, folder) -> bool:
    """Whether a trained vocabulary is there and whole."""
    if not (folder / files.SUMS).exists():  # Of an earlier version, or none.
      return (folder / "tokenizer.json").exists()
    try:
      files.sealed(folder, "made anew")
    except files.Damaged as error:
      logger.warning("%s", error)
      return False
    return True

  def _train_vocabulary(self, folder) -> None:
    logger.info("tokenizer: training on the train split's notes")
    trained = tokenise.Tokeniser.train(
      self._notes("train"), self.config.sizes.vocab_size
    )
    origin = {"patients": words.PATIENTS, "source": self.source_version}
    with files.whole_folder(folder) as partial:
      files.write_json(partial / ORIGIN, origin)
      trained.save(partial)
      files.seal(partial)

  @property
  def _vocabulary(self) -> pathlib.Path:
    """Folder of a vocabulary trained on this run's notes."""
    if not self.config.share:
      return self.config.workdir / "tokenizer"
    size = self.config.sizes.vocab_size
    what = {"vocabulary": size, "patients": words.PATIENTS}
    name = store.short(what | self.data.fingerprint)
    return self.config.share / f"tokenizer-{name}"

  @property
  def source_version(self) -> str:
    """What the records were built from."""
    return self.data.metadata["source_version"]

  def vocabulary(self) -> dict:
    """Where the vocabulary of the texts comes from.

    Returns:
      from: "bert", "init_from", or "train", the notes of the train split;
      patients: how many have each word that is a piece, or whose part is one,
      None if that is not known; source: of these notes, where it is known.
    """
    if self.config.bert:
      return {"from": "bert", "patients": None}
    if self.warm and self.warm.tokenizer:
      before = getattr(self.warm, "config", {}).get("vocabulary", {})
      return {"patients": None} | before | {"from": "init_from"}
    file = self._vocabulary / ORIGIN
    origin = {}
    if file.exists():
      origin = files.read_json(file, dict, "delete it to train without it.")
    return {"from": "train", "patients": None} | origin

  def _notes(self, split):
    """(patient, text) of every note."""
    kinds = self.data.description.kinds
    texts = [m for m in self.data.modalities if kinds[m] == "text"]
    for record in self.data.records(split, ("subject_id", *texts)):
      for m in texts:
        if record[m]:
          yield int(record["subject_id"]), examples.string(record[m])

  def scores(self, logits) -> np.ndarray:
    """A model's logits f32[N C] -> those whose sigmoid is the probability."""
    if self.data.description.classes:
      return ordinal.one_against_rest(logits)
    return logits

  def size(self, split: str, rows: np.ndarray) -> disclosure.Sizes:
    """How many rows i64[N] of a split there are, as it may be shown."""
    subject = self.data.subject(split)[rows]
    return disclosure.Sizes(self.rule, subject, self.data.size(split))

  def few(self, split: str, rows) -> np.ndarray:
    """Labels bool[C] that are suppressed in some rows i64[N] of a split."""
    if self.rule.open:
      return np.zeros(len(self.labels), bool)
    subject = self.data.subject(split)[rows]
    return disclosure.few(self.label(split)[rows], subject)

  def shown_mean(self, values, logits, split: str, rows) -> float | None:
    """The mean of a metric f64[C] over the labels that are not suppressed.

    Args:
      values: of each label.
      logits: f[N C] it is the metric of.
      split: its name.
      rows: i64[N] of the split.
    """
    hidden = self.few(split, rows)
    if not self.rule.open:
      hidden = hidden | disclosure.tables(logits)
    return self.rule.numbers(metrics.mean(np.where(hidden, np.nan, values))[0])

  def rows(
    self, split: str, modality: str | None = None, of: str | None = None
  ) -> np.ndarray:
    """Rows i64[N] of a split that have `modality` (any, if none is named).

    With --pairs=paired, train and validation keep only stays with every
    modality; with --train_fraction, train only some patients.

    Args:
      split: its name.
      modality: name, or None.
      of: "encoders" (stages 1 and 2) or "fusion" (stage 3), which with
        --held_out learn from different patients of train; None: all of it.
    """
    present = self.present(split)
    keep = present.any(axis=1)
    if modality:
      keep = present[:, self.config.modalities.index(modality)]
    if self.config.pairs == "paired" and split != "test":
      keep = keep & present.all(axis=1)
    if split == "train":
      subject, share = self.data.subject(split), self.config.train_fraction
      keep = keep & missing.fraction(subject, share)
      if of and self.config.held_out:
        seen = missing.fraction(subject, share * (1 - self.config.held_out))
        keep = keep & (seen if of == "encoders" else ~seen)
    return np.flatnonzero(keep)

  @once
  def label(self, split: str) -> np.ndarray:
    """Labels f32[N C] of a split, in record order."""
    return self.data.labels_of(split)

  @once
  def base_rate(self) -> np.ndarray:
    """Log odds f32[C] of each label in the train split; of classes, the log.

    As if one more stay had the label and one had not, so that it is finite.
    """
    label = self.label("train")[self.rows("train")].astype(np.float64)
    share = (label.sum(axis=0) + 1) / (len(label) + 2)
    other = 1.0 if self.data.description.classes else 1 - share
    return np.log(share / other).astype(np.float32)

  def pooled_rows(self, split: str, modality: str) -> np.ndarray:
    """Rows that get pools of `modality`: those that have it.

    With --as_released=absent_tokens the others too, from blank input.
    """
    blank = "absent_tokens" in self.config.as_released
    return self.rows(split, None if blank else modality, "fusion")

  def loader(
    self,
    split: str,
    modalities: tuple[str, ...],
    rows,
    learn: bool,
    augment: bool = True,
    by_length: bool = True,
  ) -> loader.Loader:
    """Batches of the raw input of some modalities.

    Args:
      split: its name.
      modalities: names; those a stay lacks are blank.
      rows: of the split, i64[N].
      learn: shuffled, and augmented where the preset says so.
      augment: not at all if False.
      by_length: rows of similar length share a batch.
    """
    sizes = self.config.sizes
    augmented = {
      "series": sizes.hide > 0,
      "image": self.config.augment,
      "text": False,
      "embedding": False,
    }
    augmented = {
      m: learn and augment and augmented[self.config.kinds[m]]
      for m in modalities
    }
    lengths = self.data.lengths(split, modalities[0]) if by_length else None
    return loader.Loader(
      rows=rows,
      batch_size=self.config.batch_size,
      fetch=functools.partial(self._example, split, augmented),
      collate=functools.partial(
        examples.collate,
        kinds=self.config.kinds,
        labels=len(self.labels),
        shapes=self.shapes,
        names=modalities,
      ),
      seed=self.config.settings.seed if learn else None,
      lengths=None if lengths is None else lengths[rows],
      augment=any(augmented.values()),
      share=self.parallel.share,
    )

  def windows(self, split: str, modality: str) -> np.ndarray:
    """Windows of each row's notes, i32[N] of the split; 0 if not read so far.

    Those past the last that is read count, too.
    """
    seen = self._seen(split, modality)
    # Every process knows a row's number, or 0: their bits together are it.
    bits = self.parallel.any(np.unpackbits(seen.view(np.uint8)))
    return np.packbits(bits).view(seen.dtype)

  def remember(self, split: str, modality: str, windows: np.ndarray) -> None:
    """Takes over i32[n] of `windows`, rows as of `rows(split, modality)`."""
    self._seen(split, modality)[self.rows(split, modality)] = windows

  def _seen(self, split, modality):
    size = self.data.size(split)
    return self._windows.setdefault((split, modality), np.zeros(size, np.int32))

  def _example(self, split, augmented, row, rng):
    return {
      "inputs": {
        m: self._input(split, m, row, rng if augment else None)
        for m, augment in augmented.items()
      },
      "present": self.present(split)[row],
      "label": self.label(split)[row],
    }

  def _input(self, split, modality, row, rng):
    """Fields of one modality of a stay; None where it has none."""
    column = self.config.modalities.index(modality)
    if not self.present(split)[row, column]:
      return None
    fields = self.fields(split, modality, row)
    if "windows" in fields:
      self._seen(split, modality)[row] = fields["windows"]
    if rng is None:
      return fields
    if self.config.kinds[modality] == "series":
      return examples.hide(fields, rng, self.config.sizes.hide)
    return examples.augment(fields, rng, "mirror" in self.config.as_released)

  def fields(self, split: str, modality: str, row: int) -> dict:
    """Decoded fields of a modality that the stay has."""
    key = (self._identity, split, modality, row)
    if (fields := _MEMORY.get(key)) is None:
      stored = self._source(split, modality)[row][modality]
      fields = _MEMORY[key] = self._decoded(modality, stored)
    return fields

  @functools.cached_property
  def _identity(self) -> tuple:
    """What decoded examples are a function of, beside split, kind and row."""
    data, config = self.data, self.config
    own = (
      config.preset,
      config.bert,
      config.init_from,
      *(getattr(config, name) for name in channels.ADDED),
      config.clip_z,
      config.hours_per_stay,
      self.shapes.max_windows,
    )
    return (*data.fingerprint.values(), *own)

  def _decoded(self, modality, stored):
    kind = self.config.kinds[modality]
    if kind == "series":
      return self.channels_of(modality)(stored)
    if kind == "image":
      return examples.image(stored, self.shapes.image_size)
    if kind == "embedding":
      return {"x": stored}
    return examples.text(stored, self.tokeniser, self.shapes)

  @once
  def _source(self, split, modality):
    return self.data.source(split, (modality,))

  @once
  def present(self, split: str) -> np.ndarray:
    """Presence bool[N M] of the run's modalities, in record order.

    What --missing_train and --missing_test take away is not there.
    """
    config = self.config
    present = self.data.present(split, config.modalities)
    rates = config.missing_test if split == "test" else config.missing_train
    if not rates:
      return present
    return missing.drop(present, self.label(split), config.modalities, rates)
