"""The built records: metadata, index and random access by split.

Reads what `python -m data.build` wrote (TFDS, ArrayRecord) and nothing else;
docs/data.md describes every field.
"""

import pathlib

import numpy as np

from medpatch_jax import schema

SPLITS = ("train", "validation", "test")


class Dataset:
  """One task's records under `data_dir/<task>/<version>`."""

  def __init__(self, data_dir, task: str):
    """Opens the newest version of `task` in `data_dir`.

    Args:
      data_dir: folder given to `data.build`.
      task: a name of `schema.TASKS`.

    Raises:
      ValueError: nothing was built there, or its metadata lack a field.
    """
    root = pathlib.Path(data_dir) / task
    versions = sorted(
      (p.parent for p in root.glob("*/dataset_info.json")),
      key=lambda p: [int(n) for n in p.name.split(".")],
    )
    if not versions:
      raise ValueError(
        f"{root}: no built dataset. Run `python -m data.build --task={task}"
        f" --data_dir={data_dir} --source=...` first."
      )
    import tensorflow_datasets as tfds  # Absent on some GPU images.

    self.path = versions[-1]
    self.task = task
    self._builder = tfds.builder_from_directory(self.path)
    self.metadata = dict(self._builder.info.metadata)
    wanted = (
      "label_names",
      "columns",
      "modalities",
      "mean",
      "std",
      "index",
      "digest",
    )
    missing = [name for name in wanted if name not in self.metadata]
    if missing:
      raise ValueError(
        f"{self.path}/metadata.json: lacks {', '.join(missing)}; build the"
        " dataset again with this version's data.build."
      )
    self.modalities = tuple(self.metadata["modalities"])
    self.labels = tuple(self.metadata["label_names"])
    self.mean = np.asarray(self.metadata["mean"], np.float32)
    self.std = np.asarray(self.metadata["std"], np.float32)

  def size(self, split: str) -> int:
    return len(self.metadata["index"][split]["hours"])

  def lengths(self, split: str, modality: str) -> np.ndarray | None:
    """What rows of like cost share: hours or characters, i64[N], or None."""
    kind = schema.KINDS[modality]
    if kind == "text":
      found = self.metadata["index"][split]["characters"][modality]
      return np.asarray(found, np.int64)
    return self.hours(split) if kind == "series" else None

  def hours(self, split: str) -> np.ndarray:
    """Length of each stay's series in hours, i64[N] in record order."""
    return np.asarray(self.metadata["index"][split]["hours"], np.int64)

  def subject(self, split: str) -> np.ndarray:
    """A number per subject within the split, i64[N] in record order."""
    return np.asarray(self.metadata["index"][split]["subject"], np.int64)

  def present(self, split: str, modalities=schema.MODALITIES) -> np.ndarray:
    """Presence flags bool[N M], columns in the order of `modalities`."""
    bits = np.asarray(self.metadata["index"][split]["present"], np.int64)
    columns = [self.modalities.index(m) for m in modalities]
    return (bits[:, None] >> np.asarray(columns)[None, :]) & 1 == 1

  @property
  def fingerprint(self) -> dict[str, str]:
    """SHA-256 of the records of each split: changes when they change."""
    return dict(self.metadata["digest"])

  def source(self, split: str, fields) -> "Source":
    """Random access to records, as dicts holding only `fields`."""
    return Source(self._builder, split if self.size(split) else None, fields)

  def labels_of(self, split: str) -> np.ndarray:
    """Every label of a split, f32[N C] in record order."""
    source = self.source(split, ("label",))
    out = np.zeros((len(source), len(self.labels)), np.float32)
    for i in range(len(source)):
      out[i] = source[i]["label"]
    return out


class Source:
  """Records of a split by number; fields not asked for stay undecoded."""

  def __init__(self, builder, split: str | None, fields):
    """Opens a split, or stands for an empty one if `split` is None."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    self._features = tfds.features.FeaturesDict(
      {f: features[f] for f in fields}
    )
    self._records = ()
    if split:
      self._records = builder.as_data_source(
        split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
      )

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, row: int) -> dict:
    if not 0 <= row < len(self):
      raise IndexError(row)
    return self._features.deserialize_example_np(self._records[row])
