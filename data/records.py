"""Records on disk: features, sharded writing, metadata (docs/records.md).

The folder is a TFDS dataset in ArrayRecord format that
`tfds.builder_from_directory` opens without this repository. It is written
with TFDS's own features and metadata but not through its builder, which
shuffles over temporary files, refuses empty splits and serialises maps in
arbitrary order.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil

import numpy as np

from data.splits import SPLITS
from medpatch_jax import files, schema

VERSION = "1.0.0"
# Stays per file, fixed so that the bytes do not depend on the machine: some
# 30 MB with films and notes, over 100 files at MIMIC's full size.
SHARD = 512

# Subgroups of MIMIC's stays: a number or a word.
GROUPS = {"age": "number", "gender": "word", "ethnicity": "word"}


@dataclasses.dataclass(frozen=True)
class About:
  """What TFDS says of a dataset."""

  description: str
  citation: str
  licence: str


MIMIC = About(
  description="""\
Intensive care stays with four modalities, any of which may be absent: hourly
vital signs and laboratory values, chest X-ray, radiology reports, discharge
note. Built from MIMIC-IV, MIMIC-CXR-JPG and MIMIC-IV-Note, or from a synthetic
twin in their format, by medpatch-jax; docs/records.md describes every field.""",
  citation="""\
@article{johnson2023mimiciv, title={MIMIC-IV, a freely accessible electronic
health record dataset}, author={Johnson, Alistair E. W. and others},
journal={Scientific Data}, volume={10}, number={1}, year={2023}}""",
  licence="""\
Records derived from MIMIC fall under the PhysioNet Credentialed Health Data
Use Agreement: they may not be shared with anyone not credentialed. Records
derived from the open demo fall under the ODbL 1.0, those of the synthetic twin
under no restriction.""",
)


def features(
  labels,
  columns,
  kinds=schema.KINDS,
  groups=GROUPS,
  single=("dn",),
  hourly=False,
  dtypes=None,
):
  """TFDS features of one stay; no feature needs TensorFlow to be read.

  Args:
    labels: how many.
    columns: of each series, and widths of embeddings.
    kinds: modality -> series, image, text or embedding.
    groups: subgroup -> number or word.
    single: texts that have one hour, as images do; others have many.
    hourly: a label for each of many hours; images and texts as by then.
    dtypes: of embeddings.
  """
  import tensorflow_datasets as tfds

  f = tfds.features
  number, many = f.Scalar(np.float32), f.Tensor(shape=(None,), dtype=np.float32)
  modality = {"image": f.Scalar(np.object_), "text": f.Text()}
  fields = {"stay_id": f.Scalar(np.int64), "subject_id": f.Scalar(np.int64)}
  for m, kind in kinds.items():
    dtype = np.dtype((dtypes or {}).get(m, np.float32)).type
    fields[m] = modality.get(kind) or f.Tensor(
      shape=(None, columns[m]), dtype=dtype, encoding="bytes"
    )
  fields["present"] = f.Tensor(shape=(len(kinds),), dtype=np.bool_)
  fields["label"] = f.Tensor(shape=(labels,), dtype=np.float32)
  for name, kind in groups.items():
    fields[name] = number if kind == "number" else f.Text()
  for m, kind in kinds.items():
    if kind == "image" or m in single:
      fields[f"{m}_hour"] = number
    elif kind in ("text", "embedding"):
      fields[f"{m}_hours"] = many
  if hourly:
    fields["label_hours"] = many
    fields["label"] = f.Tensor(
      shape=(None, 1), dtype=np.float32, encoding="bytes"
    )
    for m in [m for m, kind in kinds.items() if kind == "image"]:
      fields[m], fields[f"{m}_hours"] = f.Sequence(f.Scalar(np.object_)), many
      del fields[f"{m}_hour"]
    for m in [m for m, kind in kinds.items() if kind == "text"]:
      if m not in single:
        fields[f"{m}_ends"] = f.Tensor(shape=(None,), dtype=np.int64)
  return f.FeaturesDict(fields)


def encode(features, example):
  """One example (a dict as in `features`) as the bytes of a record."""
  encoded = features.encode_example(example)
  # Without `deterministic` the fields come in arbitrary order.
  return features._example_serializer.get_tf_example(encoded).SerializeToString(
    deterministic=True
  )


def _open(path):
  from array_record.python import array_record_module

  return array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")


def write_file(path, features, examples):
  """Writes one file of records, whole or not at all, for `Writer.adopt`.

  Args:
    path: the file.
    features: of `features`.
    examples: dicts as in `features`, in order.

  Returns:
    {"length", "bytes", "digest"}: records, bytes of them, and their SHA-256.
  """
  length, size, digest = 0, 0, hashlib.sha256()
  with files.whole(path) as part:
    file = _open(part)
    for example in examples:
      record = encode(features, example)
      file.write(record)
      length, size = length + 1, size + len(record)
      digest.update(len(record).to_bytes(8, "big") + record)
    file.close()
  return {"length": length, "bytes": size, "digest": digest.hexdigest()}


class Writer:
  """Puts files of records together to a dataset, split by split."""

  def __init__(self, folder, task, features, about=MIMIC):
    """Opens nothing yet; `folder` must exist.

    Args:
      folder: where the dataset's files go.
      task: the dataset's name.
      features: of `features`.
      about: what TFDS says of it.
    """
    self._about = about
    self._folder = pathlib.Path(folder)
    self._task = task
    self._features = features
    self._lengths = {split: [] for split in SPLITS}
    self._bytes = dict.fromkeys(SPLITS, 0)
    self._digest = {split: hashlib.sha256() for split in SPLITS}

  def adopt(self, split, path, met):
    """Appends a file of `write_file`, which returned `met`, to a split.

    The file stays where it is, too.
    """
    part = self._part(split, len(self._lengths[split]))
    try:
      os.link(path, part)
    except OSError:  # The disk knows no second names.
      shutil.copyfile(path, part)
    self._lengths[split].append(met["length"])
    self._bytes[split] += met["bytes"]
    self._digest[split].update(met["digest"].encode())

  def _part(self, split, number):
    # The final name holds the number of files, which is known at the end.
    return self._folder / f"{split}-{number:05}.part"

  def finish(self, metadata):
    """Names the files and writes TFDS's metadata.

    Args:
      metadata: a JSON-like dict; "digest" (SHA-256 of each split's records)
        is added to it.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import splits as splits_lib

    for split in SPLITS:
      if not self._lengths[split]:  # It still has its (empty) file.
        _open(self._part(split, 0)).close()
        self._lengths[split].append(0)
    infos = [self._name(tfds, split) for split in SPLITS]
    metadata = dict(metadata)
    metadata["digest"] = {s: self._digest[s].hexdigest() for s in SPLITS}
    info = tfds.core.DatasetInfo(
      builder=tfds.core.DatasetIdentity(
        name=self._task,
        version=tfds.core.Version(VERSION),
        data_dir=os.fspath(self._folder),
        module_name="",
      ),
      features=self._features,
      metadata=tfds.core.MetadataDict(metadata),
      description=self._about.description,
      citation=self._about.citation,
      license=self._about.licence,
    )
    info.set_file_format("array_record")
    info.set_splits(splits_lib.SplitDict(infos))
    info.write_to_directory(self._folder)

  def _name(self, tfds, split):
    lengths = self._lengths[split]
    template = tfds.core.ShardedFileTemplate(
      dataset_name=self._task,
      data_dir=self._folder,
      filetype_suffix="array_record",
      split=split,
    )
    for i in range(len(lengths)):
      final = template.sharded_filepath(shard_index=i, num_shards=len(lengths))
      self._part(split, i).rename(final)
    return tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=self._bytes[split],
      filename_template=template,
    )
