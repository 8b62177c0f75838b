"""What was read of the raw tables, as Parquet files sorted by the stay's row.

One file a table, beside it a note of what was met while reading; a table
that has both was read to its end and is not read again. Files, not a
database, so that processes read them side by side.
"""

import dataclasses
import pathlib

import numpy as np

from data import resume
from data.errors import InputError
from data.mimic import tables
from medpatch_jax import files
from medpatch_jax.input.tables import file

# Rows of a row group, which is what is decoded at once: of numbers, of texts
# of some kilobytes each.
NUMBERS, TEXTS = 30_720, 2_048


@dataclasses.dataclass
class Store:
  """A folder of tables and a connection that sees each as a view.

  Attributes:
    connection: of `tables.connect`.
    folder: where the files lie.
    quiet: no progress on stderr.
  """

  connection: object
  folder: pathlib.Path
  quiet: bool = False

  def execute(self, sql):
    return self.connection.execute(sql)

  def one(self, sql):
    """The first row of a query."""
    return self.connection.execute(sql).fetchone()

  def scan(self, table, name, sql, group=NUMBERS):
    """Keeps what `sql` selects, which scans `table` once, as `name`.

    Sets `table.rows`, `bad` and `bad_count`, also where the file is there.

    Raises:
      InputError: the table is damaged, or holds no row.
    """
    path, note = self._path(name), self.folder / f"{name}.json"
    met = resume.noted(note, path)
    if met is None:
      with files.whole(path) as part:
        copy = self._copy(sql, part, group)
        tables.load(self.connection, table, copy, quiet=self.quiet)
      met = {n: getattr(table, n) for n in ("rows", "bad", "bad_count")}
      resume.note(note, met, path)
    for n, value in met.items():
      setattr(table, n, value)
    self.see(name)

  def derive(self, name, sql, group=NUMBERS):
    """Keeps what `sql` selects from tables that are here, as `name`."""
    with files.whole(self._path(name)) as part:
      self.execute(self._copy(sql, part, group))
    self.see(name)

  def see(self, name):
    """Makes a kept table visible to the connection."""
    kept = file.parquet(self._path(name))
    self.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {kept}")

  def empty(self, table, found):
    """Refuses a table none of whose rows is of the cohort."""
    if not found and self.one("SELECT count(*) FROM stays")[0]:
      raise InputError(
        f"{table.path}: none of its {table.rows:,} rows is of a subject of the"
        " cohort; is it of the same release, and are its ids and times as"
        " downloaded?"
      )

  def _path(self, name):
    return self.folder / f"{name}.parquet"

  def _copy(self, sql, part, group):
    return (
      f"COPY ({sql}) TO {tables.quote(str(part))}"
      f" (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {group})"
    )


def unmasked(values):
  """A column of DuckDB: masked numbers become NaN, masked text None."""
  if not isinstance(values, np.ma.MaskedArray):
    return values
  if values.dtype == object:
    return np.where(np.ma.getmaskarray(values), None, values.data)
  return values.astype(np.float64).filled(np.nan)
