"""The built records: metadata, index and random access by split.

Reads what `python -m data.build` wrote (TFDS, ArrayRecord) and nothing else;
docs/records.md describes every field.
"""

import dataclasses
import functools
import pathlib
import re

import numpy as np

from medpatch_jax import files, schema
from medpatch_jax.input import hourly, series

SPLITS = ("train", "validation", "test")
FIELDS = {
  "label_names": [str],
  "columns": [str],
  "modalities": [str],
  "kinds": (dict, None),
  "inputs": ([str], None),
  "embeddings": (dict, None),
  "hours": (float, None),
  "hourly": (bool, None),
  "classes": (bool, None),
  "id_name": (str, None),
  "mean": [float],
  "std": [float],
  "index": {
    s: {n: [int] for n in ("hours", "present", "subject")}
    | {"characters": (dict, None)}
    for s in SPLITS
  },
  "digest": {split: str for split in SPLITS},
}
KINDS = ("series", "image", "text", "embedding")
REDO = "build the dataset again with this version's data.build"


@dataclasses.dataclass(frozen=True)
class Description:
  """What a model has to know of a dataset to be made for it.

  Attributes:
    labels: C names.
    kinds: modality -> series, image, text or embedding, in the order of the
      columns of `present`.
    inputs: the modalities a model may learn from; MIMIC's mortality has a
      column for the discharge note and never a note.
    hours: length of every series, None where they differ.
    hourly: a row is an hour of a stay (input/hourly.py), not a stay.
    classes: exactly one label is true, not any of them.
    unseen: those of `inputs` that no stay of the train split has.
  """

  labels: tuple[str, ...]
  kinds: dict[str, str]
  inputs: tuple[str, ...]
  hours: int | None = None
  hourly: bool = False
  classes: bool = False
  unseen: tuple[str, ...] = ()


def describe(data_dir, task: str) -> Description:
  """The description of a dataset; of MIMIC's tasks also before it is built.

  Raises:
    ValueError: nothing was built there, or its metadata lack a field.
  """
  if task in schema.TASKS and not _versions(data_dir, task):
    return _describe(task, {})
  return Dataset(data_dir, task).description


def _describe(task: str, metadata: dict) -> Description:
  """From metadata; those written before they named a field are MIMIC's."""
  known = schema.TASKS.get(task)
  modalities = metadata.get("modalities", schema.MODALITIES)
  kinds = metadata.get("kinds", schema.KINDS)
  inputs = metadata.get("inputs") or (known.modalities if known else modalities)
  unseen = ()
  if metadata:
    present = metadata["index"]["train"].get("present", ())
    seen = int(np.bitwise_or.reduce(np.asarray(present, np.int64), initial=0))
    unseen = [m for i, m in enumerate(modalities) if not seen >> i & 1]
  return Description(
    labels=tuple(metadata.get("label_names") or known.labels),
    kinds={m: kinds[m] for m in modalities},
    inputs=tuple(inputs),
    hours=metadata.get("hours"),
    hourly=metadata.get("hourly", known is not None and known.hourly),
    classes=metadata.get("classes", known is not None and known.classes),
    unseen=tuple(m for m in inputs if m in unseen),
  )


def built(data_dir, task: str) -> bool:
  """Whether a dataset is there whole; a build that was killed leaves a part."""
  return bool(_versions(data_dir, task))


def _versions(data_dir, task: str) -> list[pathlib.Path]:
  """Folders of a dataset's versions, the newest last."""
  root = pathlib.Path(data_dir) / task
  # Either of them may have been lost.
  found = [*root.glob("*/dataset_info.json"), *root.glob(f"*/{files.SUMS}")]
  return sorted(
    {p.parent for p in found if re.fullmatch(r"\d+(\.\d+)*", p.parent.name)},
    key=lambda p: [int(n) for n in p.name.split(".")],
  )


class Dataset:
  """One task's records under `data_dir/<task>/<version>`.

  A row is a record; of an hourly task it is an hour of one, and everything
  here is of what was known by then.
  """

  def __init__(self, data_dir, task: str, most: int | None = None):
    """Opens the newest version of `task` in `data_dir`.

    Args:
      data_dir: folder given to `data.build`.
      task: name of a dataset there.
      most: hours of a stay of train or validation that are rows, of an hourly
        task; None for all. Those of test are all rows, always.

    Raises:
      ValueError: nothing was built there, or its metadata lack a field.
    """
    versions = _versions(data_dir, task)
    if not versions:
      root = pathlib.Path(data_dir)
      found = sorted({p.parts[-3] for p in root.glob("*/*/dataset_info.json")})
      raise ValueError(
        f"{root / task}: no built dataset (found:"
        f" {', '.join(found) or 'none'}). Run `python -m data.build"
        f" --task={task} --data_dir={data_dir} --source=...` first."
      )
    self.path = versions[-1]
    self.task = task
    self.metadata = _metadata(self.path)
    self.description = _describe(task, self.metadata)
    self.modalities = tuple(self.description.kinds)
    self.labels = self.description.labels
    self.mean = np.asarray(self.metadata["mean"], np.float32)
    self.std = np.asarray(self.metadata["std"], np.float32)
    # Modality -> model, width, dtype and most tokens of its embeddings.
    self.embeddings = self.metadata.get("embeddings") or {}
    self.id_name = self.metadata.get("id_name", "stay_id")
    self.most = most
    self._hour: dict[str, tuple] = {}
    self.bucket_hours = self.metadata.get("bucket_hours")
    # Openly licensed; records of before this was told are not.
    self.open = self.metadata.get("open") is True

  @functools.cached_property
  def _builder(self):
    import tensorflow_datasets as tfds  # Absent on some GPU images.

    try:
      return tfds.builder_from_directory(self.path)
    except Exception as error:  # Whatever a broken file makes it raise.
      raise files.Damaged(
        f"{self.path}: its dataset_info.json or features.json is missing or"
        f" damaged ({type(error).__name__}); {REDO}."
      ) from None

  @functools.cached_property
  def series(self) -> dict[str, tuple[str, ...]]:
    """Modality -> names of the columns of its series."""
    kinds = self.description.kinds
    names = [m for m, kind in kinds.items() if kind == "series"]
    if len(names) < 2:
      return {m: tuple(self.metadata["columns"]) for m in names}
    recipe = series.Recipe.of(self.metadata)
    return {m: tuple(recipe.only(m).columns()) for m in names}

  def _index(self, split: str, name: str) -> np.ndarray:
    """A column of the index, a number for each record."""
    return np.asarray(self.metadata["index"][split].get(name, ()), np.int64)

  def hour(self, split: str):
    """Of an hourly task (record i64[N], hour i64[N]) of each row, else None."""
    if not self.description.hourly:
      return None
    if split not in self._hour:
      most = None if split == "test" else self.most
      first, last = self._index(split, "first"), self._index(split, "last")
      self._hour[split] = hourly.rows(first, last, most)
    return self._hour[split]

  def _of_rows(self, split: str, values: np.ndarray) -> np.ndarray:
    """Values of the records -> of the rows."""
    at = self.hour(split)
    return values if at is None else values[at[0]]

  def size(self, split: str) -> int:
    return len(self.hours(split))

  def lengths(self, split: str, modality: str) -> np.ndarray | None:
    """What rows of like cost share: hours or characters, i64[N], or None.

    Of an hourly task characters are those of the whole stay.
    """
    kind = self.description.kinds[modality]
    if kind == "text":
      found = self.metadata["index"][split]["characters"][modality]
      return self._of_rows(split, np.asarray(found, np.int64))
    return self.hours(split) if kind == "series" else None

  def hours(self, split: str) -> np.ndarray:
    """Length of each row's series in hours, i64[N] in record order."""
    at = self.hour(split)
    return self._index(split, "hours") if at is None else at[1]

  def subject(self, split: str) -> np.ndarray:
    """A number per subject within the split, i64[N] in record order."""
    return self._of_rows(split, self._index(split, "subject"))

  def present(self, split: str, modalities=None) -> np.ndarray:
    """Presence flags bool[N M], columns in the order of `modalities`.

    All of the dataset's if none are given.
    """
    modalities = self.modalities if modalities is None else modalities
    bits = self._of_rows(split, self._index(split, "present"))
    columns = [self.modalities.index(m) for m in modalities]
    found = (bits[:, None] >> np.asarray(columns)[None, :]) & 1 == 1
    if self.description.hourly:
      since = self.metadata["index"][split].get("since", {})
      for i, m in enumerate(modalities):
        if m in since:
          first = np.asarray(since[m], np.float32)  # NaN where there is none.
          found[:, i] &= self._of_rows(split, first) <= self.hours(split)
    return found

  @property
  def fingerprint(self) -> dict[str, str]:
    """SHA-256 of the records of each split: changes when they change."""
    return dict(self.metadata["digest"])

  def records(self, split: str, fields) -> "Source":
    """Random access to records, as dicts holding only `fields`."""
    there = len(self._index(split, "hours"))
    return Source(self._builder, split if there else None, fields)

  def source(self, split: str, fields):
    """Random access to rows, as dicts holding only `fields`."""
    at = self.hour(split)
    if at is None:
      return self.records(split, fields)
    records = self.records(split, hourly.Cut.fields(fields))
    return hourly.Cut(records, *at, fields, self.description.classes)

  def labels_of(self, split: str) -> np.ndarray:
    """Every label of a split, f32[N C] in record order; NaN if unknown."""
    if self.description.hourly:
      return hourly.labels(self.targets_of(split), self.description.classes)
    source = self.records(split, ("label",))
    out = np.zeros((len(source), len(self.labels)), np.float32)
    for i in range(len(source)):
      out[i] = source[i]["label"]
    return out

  def targets_of(self, split: str) -> np.ndarray:
    """As stored, f32[N 1], of an hourly task: labels, or hours left."""
    source = self.records(split, ("label", "label_hours"))
    stay, hour = self.hour(split)
    out = np.zeros((len(stay), 1), np.float32)
    at = np.searchsorted(stay, np.arange(len(source) + 1))
    for i in range(len(source)):
      record = source[i]
      rows = slice(at[i], at[i + 1])
      place = np.searchsorted(record["label_hours"], hour[rows])
      out[rows] = record["label"][place]
    return out


def _metadata(path: pathlib.Path) -> dict:
  """metadata.json of a dataset's folder, with every field that is read.

  What else lies there is compared with its checksums, but for the records,
  which have their own: of these only the sizes.
  """
  if (path / files.SUMS).exists():
    files.sealed(path, f"{REDO}.", skip="*.array_record-*")
  metadata = files.read_json(path / "metadata.json", FIELDS, f"{REDO}.")
  columns = len(metadata["columns"])
  for name in ("mean", "std"):
    if len(metadata[name]) != columns:
      raise files.Damaged(
        f"{path / 'metadata.json'}: {name} has {len(metadata[name])} numbers,"
        f" wanted {columns}; {REDO}."
      )
  if misfit := _misfit(metadata):
    raise files.Damaged(f"{path / 'metadata.json'}: {misfit}; {REDO}.")
  return metadata


def _misfit(metadata: dict) -> str | None:
  """What of the fields does not fit the others, in words, or None."""
  modalities = metadata["modalities"]
  kinds = metadata.get("kinds") or schema.KINDS
  for name in ("label_names", "modalities"):
    if not metadata[name]:
      return f"{name} is empty"
  for m in modalities:
    if kinds.get(m) not in KINDS:
      return f"kinds.{m} is no {', '.join(KINDS[:-1])} or {KINDS[-1]}"
    if kinds[m] == "embedding" and not _whole(metadata, m):
      return f"embeddings.{m} lacks model, width or tokens"
  if strange := set(metadata.get("inputs") or ()) - set(modalities):
    return f"inputs names {min(strange)!r}, which is none of the modalities"
  texts = [m for m in modalities if kinds[m] == "text"]
  for split, index in metadata["index"].items():
    size, characters = len(index["present"]), index.get("characters") or {}
    counts = {n: index[n] for n in ("hours", "subject")}
    counts |= {f"characters.{m}": characters.get(m) for m in texts}
    for name, found in counts.items():
      if not isinstance(found, list) or len(found) != size:
        return f"index.{split}.{name} holds no {size:,} numbers"
  return None


def _whole(metadata: dict, m: str) -> bool:
  """Whether metadata say what embeddings of a modality are."""
  found = (metadata.get("embeddings") or {}).get(m)
  return isinstance(found, dict) and all(
    isinstance(found.get(name), kind)
    for name, kind in (("model", str), ("width", int), ("tokens", int))
  )


class Source:
  """Records of a split by number; fields not asked for stay undecoded."""

  def __init__(self, builder, split: str | None, fields):
    """Opens a split, or stands for an empty one if `split` is None."""
    import tensorflow_datasets as tfds

    self._records, self._split = (), None
    try:
      features = {f: builder.info.features[f] for f in fields}
      if split:
        self._split = builder.info.splits[split]
    except (KeyError, ValueError):
      name = "features.json or dataset_info.json"
      raise files.Damaged(
        f"{builder.data_path}: its {name} lacks a field or a split, so it is"
        f" damaged; {REDO}."
      ) from None
    self._features = tfds.features.FeaturesDict(features)
    if split:
      try:
        self._records = builder.as_data_source(
          split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
      except Exception as error:  # array_record's are RuntimeErrors.
        raise self._damaged(self._first_damaged(), error) from None

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, row: int) -> dict:
    if not 0 <= row < len(self):
      raise IndexError(row)
    try:
      return self._features.deserialize_example_np(self._records[row])
    except Exception as error:  # Protobuf's and array_record's.
      ends = np.cumsum(self._split.shard_lengths)
      file = self._split.filepaths[np.searchsorted(ends, row, side="right")]
      raise self._damaged(file, error) from None

  def _first_damaged(self):
    """The file of the split that cannot be opened, or the folder of all."""
    from array_record.python import array_record_module

    for path in self._split.filepaths:
      try:
        array_record_module.ArrayRecordReader(str(path)).num_records()
      except Exception:
        return path
    return self._split.filepaths[0].parent

  def _damaged(self, file, error):
    name = type(error).__name__
    return files.Damaged(f"{file}: is missing or damaged ({name}); {REDO}.")
