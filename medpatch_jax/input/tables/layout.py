"""Finds the tables of a folder and their columns (docs/own_data.md)."""

import dataclasses
import os
import pathlib

from medpatch_jax.input.errors import nearest
from medpatch_jax.input.places import InputError
from medpatch_jax.input.tables import file

SUFFIXES = (".parquet", ".csv.gz", ".csv")
# Table -> (columns it must have, columns it may have); None for any others,
# a prefix stands for every column that begins with it.
COLUMNS = {
  "stays": (
    ("stay_id", "subject_id", "hours"),
    ("split", "label_", "group_"),
  ),
  "variables": (
    ("name",),
    ("kind", "categories", "normal", "low", "high", "unit"),
  ),
  "events": (("stay_id", "hour", "variable", "value"), None),
  "notes": (("stay_id", "kind", "hour", "text"), None),
  "images": (("stay_id", "hour", "path"), None),
  "embeddings": (("stay_id", "kind", "hour", "model"), ("path", "tokens")),
}
# Of these a stay has what is known of it.
INPUTS = ("events", "notes", "images", "embeddings")
# Of these a prediction needs no more.
PREDICTED = {"stays": ("stay_id", "hours")}
# A longer name of a column is none: a quote was not closed.
_LONGEST = 60


@dataclasses.dataclass
class Table:
  """A file whose columns have been checked.

  Attributes:
    name: key of `COLUMNS`.
    path: the file.
    found: its header.
    must: columns that it must have.
    rows: data rows, once it has been read.
  """

  name: str
  path: pathlib.Path
  found: file.Header
  must: tuple[str, ...]
  rows: int = 0
  # As the build report names them; a damaged row ends the build.
  bad_count: int = 0
  bad: tuple = ()

  @property
  def file(self) -> str:
    return self.path.name

  @property
  def header(self) -> list[str]:
    """Columns that are read, in the file's order."""
    _, may = COLUMNS[self.name]
    known = (*COLUMNS[self.name][0], *(may or ()))
    return [c for c in self.found.columns if _known(c, known)]

  @property
  def complete(self) -> bool:
    return set(self.must) <= set(self.header)


def files(root) -> list[pathlib.Path]:
  """Every file that may be a table."""
  paths = [path for name in COLUMNS for path in _paths(root, name)]
  return [path for path in paths if path.is_file()]


def _paths(root, name):
  paths = [pathlib.Path(root) / f"{name}{suffix}" for suffix in SUFFIXES]
  return [path for path in paths if os.path.lexists(path)]


def open_all(root, problems, learning=True) -> dict[str, Table]:
  """Finds every table and checks its columns.

  Args:
    root: the folder.
    problems: `problems.Problems`.
    learning: a dataset is built, which needs labels, subjects and the table
      of variables; else stays are predicted.

  Returns:
    name -> `Table`, of those whose columns can be told.

  Raises:
    InputError: no such folder.
  """
  root = pathlib.Path(root)
  if not root.is_dir():
    found = "a file" if root.exists() else "nothing"
    raise InputError(f"--tables={root}: found {found}, wanted a folder.")
  opened, there = {}, set()
  for name, (must, _) in COLUMNS.items():
    paths = _paths(root, name)
    there |= {name} if paths else set()
    if len(paths) > 1:
      names = " and ".join(p.name for p in paths)
      problems.add(name, f"is there as {names}; leave one")
    elif paths:
      must = must if learning else PREDICTED.get(name, must)
      if table := _open(name, paths[0], must, problems):
        opened[name] = table
  if "stays" not in there:
    wanted = " or ".join(f"stays{s}" for s in SUFFIXES)
    problems.add("stays", f"is missing; wanted {wanted}")
  if learning and ("events" in there) != ("variables" in there):
    missing = "variables" if "events" in there else "events"
    problems.add(missing, "is missing; events and variables are given together")
  if not set(INPUTS) & there:
    problems.add(", ".join(INPUTS), "are all missing; wanted at least one")
  return opened


def _open(name, path, must, problems):
  """A `Table`, or None with the reason in `problems`."""
  if not path.is_file():
    what = "a folder" if path.is_dir() else "a link to nothing"
    problems.add(path.name, f"is {what}; wanted a file")
    return None
  try:
    found = file.header(path)
  except file.Damaged as error:
    problems.add(path.name, str(error))
    return None
  table = Table(name, path, found, must)
  _, may = COLUMNS[name]
  known = (*COLUMNS[name][0], *(may or ()))
  if not any(_known(column, known) for column in found.names):
    # Where the header line is missing its place is a patient's row.
    wanted = ", ".join(COLUMNS[name][0])
    hint = next(
      (
        f"; its columns are parted by {what}, wanted commas"
        for sign, what in ((";", "semicolons"), ("\t", "tabs"))
        if sign in found.names[0]
      ),
      "",
    )
    problems.add(
      path.name,
      f"line 1 has none of the columns {wanted}: is the header line missing?"
      f" Found {len(found.names)} columns{hint}",
    )
    return None
  _columns(table, known, may is not None, problems)
  return table


def _columns(table, known, alone, problems):
  """Checks the names of a table's columns; only `known` ones if `alone`."""
  names = table.found.names
  for column in table.must:
    if column not in names:
      problems.add(
        table.file,
        f"is missing; found {len(names)} columns."
        f"{nearest(column, [n for n in names if _printed(n)])}",
        column,
      )
  folded = [n.casefold() for n in names]
  for column in sorted({n for n in names if _printed(n)}):
    if folded.count(column.casefold()) > 1:
      problems.add(table.file, "is there twice", column)
  wanted = ", ".join(c + "..." * c.endswith("_") for c in known)
  for number, column in enumerate(names, 1):
    # A table saved with its index has a first column without a name.
    if not alone or _known(column, known) or (number == 1 and not column):
      continue
    what = "is unknown" if column else "has no name"
    title = column if _printed(column) else f"number {number}"
    problems.add(table.file, f"{what}; wanted {wanted}", title)


def _known(column, known):
  prefixes = tuple(k for k in known if k.endswith("_"))
  return column in known or (
    column.startswith(prefixes) and column not in prefixes
    if prefixes
    else False
  )


def _printed(name):
  """Whether a name may stand in a message: a whole one, not rows of a file."""
  return bool(name) and len(name) <= _LONGEST and name.isprintable()
