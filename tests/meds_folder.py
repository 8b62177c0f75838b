"""Small folders of MEDS, by hand and of raw files in MIMIC's format."""

import datetime
import json
import pathlib

import duckdb
import pyarrow as pa
from pyarrow import parquet

from data import build as build_lib

START = datetime.datetime(2150, 1, 1)
SECRET = "Xanthippe"
MAP = """\
name: ward
window: {hours: 6}
variables:
  Heart rate: {codes: [HR], unit: /min, low: 0, high: 300, normal: 80}
  Rhythm: {codes: [RHYTHM], categories: [sinus, af], normal: sinus}
  Temperature:
    unit: degC
    normal: 37
    codes: [TEMP//C, {code: TEMP//F, multiply: 0.5555555555555556, add: -17.77777777777778}]
  Pump: {codes: [{code: PUMP//*, value: 'yes'}], categories: ['no', 'yes'], normal: 'no'}
notes:
  nursing: {codes: [NOTE//*]}
groups:
  gender: {word: [GENDER//*]}
  age: {years_since: [MEDS_BIRTH]}
"""


def at(hour):
  """Time of an hour, None of None."""
  return None if hour is None else START + datetime.timedelta(hours=hour)


def rows():
  """Shard -> rows of (subject, hour, code, number, text)."""
  out = {"train/0": [], "tuning/0": [], "held_out/0": []}
  for subject in range(1, 9):
    shard = {7: "tuning/0", 8: "held_out/0"}.get(subject, "train/0")
    out[shard] += [
      (subject, None, "GENDER//F", None, None),
      (subject, -50 * 8766, "MEDS_BIRTH", None, None),
      (subject, -2, "HR", 60.0, None),
      (subject, 0.5, "HR", 70.0 + subject, None),
      (subject, 1.5, "TEMP//F", 98.6, None),
      (subject, 2, "RHYTHM", None, "af"),
      (subject, 3, "NOTE//N", None, "sleeps, pink"),
      (subject, 4, "PUMP//A", None, None),
      (subject, 7, "HR", 199.0, None),
      (subject, 7, "NOTE//N", None, "died"),
    ]
  return out


def labels():
  """(subject, hour, label) of each sample."""
  return [(s, 6, s % 2 == 0) for s in range(1, 9)]


def write(root, shards=None, samples=None, map=MAP, version="0.4.1", **values):
  """Writes a folder, label files and a map; returns the arguments of a build.

  Args:
    root: folder to write below.
    shards: of `rows` by default.
    samples: of `labels` by default.
    map: text of the map.
    version: of MEDS.
    **values: column of the label file -> values, in the place of booleans.
  """
  root = pathlib.Path(root)
  shards = rows() if shards is None else shards
  samples = labels() if samples is None else samples
  for name, body in shards.items():
    path = root / f"meds/data/{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    _table(body, path)
  (root / "meds/metadata").mkdir()
  about = {"dataset_name": "ward", "meds_version": version}
  (root / "meds/metadata/dataset.json").write_text(json.dumps(about))
  splits = {s: n.partition("/")[0] for n, b in shards.items() for s, *_ in b}
  table = {"subject_id": list(splits), "split": list(splits.values())}
  parquet.write_table(
    pa.table(table), root / "meds/metadata/subject_splits.parquet"
  )
  values = values or {"boolean_value": [label for *_, label in samples]}
  table = {
    "subject_id": pa.array([s for s, *_ in samples], pa.int64()),
    "prediction_time": pa.array(
      [at(h) for _, h, *_ in samples], pa.timestamp("us")
    ),
    **values,
  }
  parquet.write_table(pa.table(table), root / "death.parquet")
  (root / "map.yaml").write_text(map)
  return arguments(root)


def _table(body, path):
  columns = list(zip(*body))
  types = (
    pa.int64(), pa.timestamp("us"), pa.string(), pa.float32(), pa.string()
  )  # fmt: skip
  columns[1] = [at(h) for h in columns[1]]
  names = ("subject_id", "time", "code", "numeric_value", "text_value")
  parquet.write_table(
    pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types)}),
    path,
  )


def arguments(root):
  return {
    "source": "meds",
    "meds": root / "meds",
    "labels": root / "death.parquet",
    "map": root / "map.yaml",
    "data_dir": root / "out",
    "task": "ward",
    "threads": 1,
    "quiet": True,
  }


def build(root, **options):
  """Writes a folder and builds it; returns the dataset's path."""
  return build_lib.build(**write(root, **options))


# Raw files in MIMIC's format -> MEDS, as MIMIC-IV-MEDS writes them, with
# reports and films beside.

MIMIC_MAP = """\
name: mimic-iv
window: {start: [ICU_ADMISSION//*], stay_id: icustay_id}
mimic_items: ['LAB//{item}//*', 'LAB//RESULT//{item}//*']
notes:
  rr: {codes: [NOTE//RR]}
images: {codes: [CXR//AP]}
groups:
  age: {years_since: [MEDS_BIRTH]}
  gender: {word: [GENDER//*]}
"""

_EVENTS = """
SELECT subject_id, charttime AS time, 'LAB//' || itemid || '//'
  || coalesce(valueuom, 'UNK') AS code, valuenum AS number, value AS text,
  NULL AS icustay_id FROM chartevents
UNION ALL SELECT subject_id, charttime, 'LAB//RESULT//' || itemid || '//'
  || coalesce(valueuom, 'UNK'), valuenum, value, NULL FROM labevents
UNION ALL SELECT subject_id, intime, 'ICU_ADMISSION//' || first_careunit, NULL,
  NULL, stay_id FROM icustays
UNION ALL SELECT subject_id, NULL, 'GENDER//' || gender, NULL, NULL, NULL FROM
  patients
UNION ALL SELECT subject_id, (anchor_year::INT - anchor_age::INT)
  || '-01-01 00:00:00', 'MEDS_BIRTH', NULL, NULL, NULL FROM patients
UNION ALL SELECT subject_id, admittime, 'RACE//' || race, NULL, NULL, NULL FROM
  admissions WHERE race IS NOT NULL
UNION ALL SELECT subject_id, charttime, 'NOTE//RR', NULL, text, NULL FROM (FROM
  radiology ORDER BY note_type = 'AR', note_seq::INT)
UNION ALL SELECT subject_id, (strptime(StudyDate || lpad(split_part(StudyTime,
  '.', 1), 6, '0'), '%Y%m%d%H%M%S') + to_microseconds(coalesce(1e6 * TRY_CAST(
  '0.' || split_part(StudyTime, '.', 2) AS DOUBLE), 0)::BIGINT))::VARCHAR, 'CXR//' || ViewPosition, NULL,
  'files/p' || subject_id[:2] || '/p' || subject_id || '/s' || study_id || '/'
  || dicom_id || '.jpg', NULL FROM metadata
"""


def of_mimic(raw, out, splits):
  """Writes raw files of MIMIC's as MEDS.

  Args:
    raw: folder of mimiciv/, mimic-cxr-jpg/ and mimic-iv-note/.
    out: folder to create.
    splits: subject -> train, tuning or held_out.
  """
  out = pathlib.Path(out)
  (out / "metadata").mkdir(parents=True)
  connection = duckdb.connect()
  for path in pathlib.Path(raw).rglob("*.csv*"):
    name = path.name.partition(".csv")[0].rpartition("-")[2]
    source = f"read_csv('{path}', all_varchar=true, header=true)"
    connection.execute(f"CREATE TABLE {name} AS FROM {source}")
  connection.execute(
    "CREATE TABLE events AS SELECT subject_id::BIGINT AS subject_id,"
    " time::TIMESTAMP AS time, code, number::DOUBLE::FLOAT AS numeric_value,"
    " text AS text_value, icustay_id::BIGINT AS icustay_id FROM"
    f" ({_EVENTS}) WHERE time IS NULL OR time != ''"
  )
  for split in ("train", "tuning", "held_out"):
    mine = [s for s, where in splits.items() if where == split] or [-1]
    (out / f"data/{split}").mkdir(parents=True)
    connection.execute(
      f"COPY (FROM events WHERE subject_id IN {tuple([*mine, -1])} ORDER BY"
      f" subject_id, time NULLS FIRST) TO '{out}/data/{split}/0.parquet'"
    )
  table = {"subject_id": list(splits), "split": list(splits.values())}
  parquet.write_table(pa.table(table), out / "metadata/subject_splits.parquet")
  about = {"dataset_name": "MIMIC-IV", "meds_version": "0.4.1"}
  (out / "metadata/dataset.json").write_text(json.dumps(about))
