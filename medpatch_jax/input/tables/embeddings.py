"""The table of embeddings of a folder: files, or lists of a Parquet column."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib

import numpy as np

from medpatch_jax.input import embeddings
from medpatch_jax.input.tables import file, rows
from medpatch_jax.input.tables.reader import bits, odd, real, scan, text, whole

LIST = "tokens"


@dataclasses.dataclass
class Kind:
  """What the embeddings of one kind have in common.

  Attributes:
    model: name of the model that made them.
    width: D; 0 before one was read.
    dtype: float16, where all of them are, or float32.
    tokens: most tokens of a stay.
  """

  model: str
  width: int = 0
  dtype: str = "float16"
  tokens: int = 0

  def to_json(self) -> dict:
    return dataclasses.asdict(self)


def load(read, table, root, known=None, skip=False):
  """Reads the table -> table `embeddings`, and opens what it names.

  Its columns: row_no, row, kind, hour, path, tokens, inside.

  Args:
    read: `reader.Reader`.
    table: `layout.Table`.
    root: folder that paths start from.
    known: kinds of a model, name -> `Kind`; None for any.
    skip: leaves out rows of other kinds.

  Returns:
    (kind -> `Kind`, sorted; rows skipped).
  """
  path = text("path") if "path" in table.header else "NULL"
  listed = f"{file.name(LIST)}" if LIST in table.header else "NULL::FLOAT[][]"
  odd_kind, unknown = rows.odd_kind("r.kind", known)
  problem = bits(
    [
      "r.id IS NULL",
      rows.stranger(read),
      odd("r.hour"),
      odd_kind,
      unknown,
      "(r.path IS NULL) = (r.tokens IS NULL)",
      rows.AWAY,
      "r.model IS NULL",
    ]
  )
  query = (
    "SELECT r.row_no, s.row, r.kind, r.hour, r.path, r.tokens, r.model,"
    f" {rows.inside()} AS inside, ({problem})::UTINYINT AS problem FROM ("
    f"SELECT row_no, {whole('stay_id')} AS id, {real('hour')} AS hour,"
    f" {text('kind')} AS kind, {path} AS path, {listed} AS tokens,"
    f" {text('model')} AS model FROM {scan(table)}) r LEFT JOIN stays s ON"
    " s.stay_id = r.id ORDER BY s.row"
  )
  if LIST in table.header and table.path.suffix != ".parquet":
    read.problems.add(table.file, "lists stand in Parquet alone", LIST)
    return {}, 0
  if not read.load(table, "embeddings", query):
    return {}, 0
  skipped = rows.skip_rows(read, table, 0b11000) if skip else 0
  read.report_bits(
    table,
    [
      *rows.KEYS,
      (rows.NO_KIND, "kind"),
      (f"wanted one of {', '.join(known or ())}{rows.SKIP}", "kind"),
      (f"wanted one of path and {LIST}", "path"),
      (rows.OUTSIDE, "path"),
      ("is empty; wanted the name of the model that made it", "model"),
    ],
  )
  rows.check_rows(read, table, "inside")
  found = _models(read, table, known)
  _open(read, table, root, found)
  return found, skipped


def _models(read, table, known):
  """Kind -> `Kind`; all rows of a kind are of one model."""
  found = {}
  for kind, model in read.connection.execute(
    "SELECT kind, first(model ORDER BY row_no) FROM embeddings WHERE problem = 0"
    " GROUP BY kind ORDER BY kind"
  ).fetchall():
    found[kind] = known[kind] if known else Kind(model)
    name = file.quote(found[kind].model)
    first = "that of the model" if known else "the first of its kind"
    read.report(
      table, "embeddings",
      f"problem = 0 AND kind = {file.quote(kind)} AND model != {name}",
      f"another model than {first}", "model",
    )  # fmt: skip
  if len(found) > rows.MOST_KINDS:
    read.problems.add(
      table.file, f"has {len(found):,} kinds, at most {rows.MOST_KINDS}", "kind"
    )
  return found


def _open(read, table, root, found):
  """Reads every array that is used; adds what is wrong to the problems."""
  entries = read.connection.execute(
    "SELECT row_no, row, kind, path FROM embeddings WHERE problem = 0 AND inside"
    " ORDER BY row, hour, row_no"
  ).fetchall()
  (threads,) = read.one("SELECT current_setting('threads')::INT")
  root, done = os.path.realpath(root), 0
  bad, counts = collections.defaultdict(list), collections.Counter()

  def opened(entry):
    number, _, kind, path = entry
    try:
      if path is None:
        return listed(read.connection.cursor(), number).shape, "float32"
      return _file(root, path, found[kind].model)
    except embeddings.Unreadable as error:
      return str(error), None

  with (
    read.progress("opening embeddings", lambda: done / max(1, len(entries))),
    concurrent.futures.ThreadPoolExecutor(threads) as pool,
  ):
    for (number, row, kind, path), (shape, dtype) in zip(
      entries, pool.map(opened, entries)
    ):
      done += 1
      column, own = "path" if path else LIST, found[kind]
      if dtype is None:
        bad[shape, column].append(number)
        continue
      tokens, width = shape
      own.width = own.width or width
      if width != own.width:
        what = f"is {width} wide where others of {kind} are {own.width}"
        bad[what, column].append(number)
      if dtype != "float16":
        own.dtype = "float32"
      counts[row, kind] += tokens
  for (what, column), numbers in bad.items():
    read.problems.add(table.file, what, column, sorted(numbers))
  for (_, kind), tokens in counts.items():
    found[kind].tokens = max(found[kind].tokens, tokens)


def _file(root, path, model):
  """Shape and dtype of a file's array.

  Raises:
    Unreadable: it is no file below the folder, or no array, or of another
      model.
  """
  try:
    place = os.path.realpath(os.path.join(root, path))
    there = os.path.isfile(place)
  except (OSError, ValueError):  # Such as a path that holds a NUL.
    there, place = False, root + os.sep
  if not place.startswith(root + os.sep):
    raise embeddings.Unreadable(rows.OUTSIDE)
  if not there:
    raise embeddings.Unreadable("names no file of the folder")
  if os.path.getsize(place) > embeddings.MOST_BYTES:
    raise embeddings.Unreadable(f"is over {embeddings.MOST_BYTES:,} bytes")
  array, named = embeddings.read(place)
  if named not in (None, model):
    raise embeddings.Unreadable("is of another model than the table says")
  return array.shape, array.dtype.name


def listed(connection, number):
  """The array of the column of lists in a row, f32[T D].

  Raises:
    Unreadable: it is none.
  """
  (tokens,) = connection.execute(
    "SELECT tokens FROM embeddings WHERE row_no = ?", [number]
  ).fetchone()
  return of_list(tokens)


def of_list(tokens):
  """Lists of DuckDB -> f32[T D].

  Raises:
    Unreadable: they are no array.
  """
  try:
    return embeddings.checked(np.asarray(tokens, np.float32))
  except (TypeError, ValueError) as error:
    if isinstance(error, embeddings.Unreadable):
      raise
    raise embeddings.Unreadable(embeddings.WANTED) from None


def stay(connection, root, kind, start, stop):
  """Reads the embeddings of some stays, of one kind, in order of hour.

  Args:
    connection: with the table `embeddings`.
    root: folder that paths start from.
    kind: of the embeddings.
    start, stop: rows of the stays, [start, stop).

  Yields:
    (row of the stay, hour, array f[T D]).

  Raises:
    Unreadable: a file changed since it was checked.
  """
  for row, hour, path, tokens, number in connection.execute(
    "SELECT row, hour, path, tokens, row_no FROM embeddings WHERE kind = ? AND"
    f" inside AND row >= {int(start)} AND row < {int(stop)} ORDER BY row, hour,"
    " row_no",
    [kind],
  ).fetchall():
    try:
      if path is None:
        array = of_list(tokens)
      else:
        array, _ = embeddings.read(pathlib.Path(root) / path)
    except embeddings.Unreadable:
      raise embeddings.Unreadable(
        f"embeddings, row {number}: the file can no longer be read; give the"
        " same command again."
      ) from None
    yield row, hour, array
