"""An open run: its configuration, records, tokeniser, loaders and devices."""

import functools

import jax
import numpy as np

from experiments.flags import Config
from medpatch_jax.input import dataset, examples, loader, tokenise
from medpatch_jax.train.log import logger
from medpatch_jax.train.parallel import Parallel

# Decoded examples are kept in memory up to this many bytes; past it they are
# decoded anew each epoch.
MEMORY = 2**30


class Run:
  """What every stage of a run shares."""

  def __init__(self, config: Config):
    """Opens the dataset.

    Raises:
      ValueError: nothing built there, or the batch does not divide over the
        devices.
    """
    self.config = config
    self.data = dataset.Dataset(config.data_dir, config.task)
    self.labels = self.data.labels
    self.shapes = config.sizes.shapes(
      len(self.data.mean), self.data.description.hours
    )
    self.parallel = Parallel(config.parallel)
    self.parallel.check(config.batch_size)
    self._memory = Memory(MEMORY)
    self._cut: set[tuple] = set()

  @functools.cached_property
  def tokeniser(self) -> tokenise.Tokeniser:
    """That of --bert, else one trained on the train split's notes."""
    if self.config.bert:
      return tokenise.Tokeniser.load(self.config.bert)
    folder = self.config.workdir / "tokenizer"
    if not (folder / "tokenizer.json").exists():
      logger.info("tokenizer: training on the train split's notes")
      size = self.config.sizes.vocab_size
      tokenise.Tokeniser.train(self._notes("train"), size).save(folder)
    return tokenise.Tokeniser.load(folder)

  def _notes(self, split):
    kinds = self.data.description.kinds
    texts = [m for m in self.data.modalities if kinds[m] == "text"]
    for record in self.data.source(split, texts):
      for m in texts:
        if record[m]:
          yield examples.string(record[m])

  def rows(self, split: str, modality: str | None = None) -> np.ndarray:
    """Rows i64[N] of a split that have `modality` (any, if none is named).

    With --pairs=paired, train and validation keep only stays with every
    modality.
    """
    present = self.present(split)
    keep = present.any(axis=1)
    if modality:
      keep = present[:, self.config.modalities.index(modality)]
    if self.config.pairs == "paired" and split != "test":
      keep = keep & present.all(axis=1)
    return np.flatnonzero(keep)

  @functools.cache  # noqa: B019 a run lives as long as its process
  def label(self, split: str) -> np.ndarray:
    """Labels f32[N C] of a split, in record order."""
    return self.data.labels_of(split)

  def pooled_rows(self, split: str, modality: str) -> np.ndarray:
    """Rows that get pools of `modality`: those that have it.

    With --as_released=absent_tokens the others too, from blank input.
    """
    blank = "absent_tokens" in self.config.as_released
    return self.rows(split, None if blank else modality)

  def loader(
    self, split: str, modality: str, learn: bool, rows=None
  ) -> loader.Loader:
    """Batches of one modality's raw input, of the stays that have it.

    Args:
      split, modality: names.
      learn: shuffled, and augmented where the preset says so.
      rows: others than the stays that have it; blank for those that do not.
    """
    rows = self.rows(split, modality) if rows is None else rows
    lengths = self.data.lengths(split, modality)
    kind = self.config.kinds[modality]
    sizes = self.config.sizes
    augment = (
      learn
      and {
        "series": sizes.hide > 0,
        "image": sizes.augment,
        "text": False,
      }[kind]
    )
    return loader.Loader(
      rows=rows,
      batch_size=self.config.batch_size,
      fetch=functools.partial(self._example, split, modality),
      collate=functools.partial(
        examples.collate,
        kinds=self.config.kinds,
        labels=len(self.labels),
        shapes=self.shapes,
      ),
      seed=self.config.settings.seed if learn else None,
      lengths=None if lengths is None else lengths[rows],
      augment=augment,
    )

  def cut(self, split: str, modality: str) -> int:
    """How many of the texts read so far were longer than the windows kept."""
    return sum(key[:2] == (split, modality) for key in self._cut)

  def _example(self, split, modality, row, rng):
    key = (split, modality, row)
    if rng is None and key in self._memory:
      return self._memory[key]
    present = self.present(split)[row]
    fields = None
    if present[self.config.modalities.index(modality)]:
      stored = self._source(split, modality)[row][modality]
      fields = self._fields(modality, stored, rng)
      if fields.pop("windows", 0) > self.shapes.max_windows:
        self._cut.add(key)
    example = {
      "inputs": {modality: fields},
      "present": present,
      "label": self.label(split)[row],
    }
    if rng is None:
      self._memory[key] = example
    return example

  def _fields(self, modality, stored, rng):
    kind = self.config.kinds[modality]
    if kind == "series":
      mean, std = self.data.mean, self.data.std
      return examples.series(stored, mean, std, rng, self.config.sizes.hide)
    if kind == "image":
      mirror = "mirror" in self.config.as_released
      return examples.image(stored, self.shapes.image_size, rng, mirror)
    return examples.text(stored, self.tokeniser, self.shapes)

  @functools.cache  # noqa: B019 a run lives as long as its process
  def _source(self, split, modality):
    return self.data.source(split, (modality,))

  @functools.cache  # noqa: B019
  def present(self, split: str) -> np.ndarray:
    """Presence bool[N M] of the run's modalities, in record order."""
    return self.data.present(split, self.config.modalities)


class Memory(dict):
  """A dict of examples that takes no more once `limit` bytes are in it."""

  def __init__(self, limit: int):
    super().__init__()
    self._left = limit

  def __setitem__(self, key, example):
    size = sum(x.nbytes for x in jax.tree.leaves(example))
    if size <= self._left:
      self._left -= size
      super().__setitem__(key, example)
