"""Everything that is wrong with a folder of tables, said at once.

A problem names table, column and rows, never a value or a text: what stands
in a row may be a patient's.
"""

import dataclasses

from medpatch_jax.input.places import InputError

# Rows named of one problem, and problems shown.
ROWS = 5
SHOWN = 50


@dataclasses.dataclass
class Problems:
  """Collects problems; `stop` raises them together.

  Attributes:
    folder: of the tables.
    lines: one for each problem.
    done: what is not done because of them, as "built".
  """

  folder: object
  lines: list[str] = dataclasses.field(default_factory=list)
  done: str = "built"

  def add(
    self, table, what, column=None, rows=(), count=None, unit="row", more=""
  ):
    """Adds one problem.

    Args:
      table: file name.
      what: what was found and what is wanted, without content.
      column: name, or None if no one column is to blame.
      rows: numbers of the first rows that have it, 1 for the first after the
        header.
      count: how many rows have it; as many as `rows` by default.
      unit: what `rows` number.
      more: what else there is to say, behind the rows.
    """
    rows = [int(r) for r in rows]
    count = len(rows) if count is None else int(count)
    where = f"{table}, column {column}" if column else table
    at = ""
    if rows:
      at = f" ({unit} {', '.join(map(str, rows[:ROWS]))}"
      others = count - len(rows[:ROWS])
      at += f" and {others:,} more)" if others else ")"
    self.lines.append(f"{where}: {what}{at}{more}")

  def stop(self):
    """Ends the command if there is a problem.

    Raises:
      InputError: lists them.
    """
    if not self.lines:
      return
    found = len(self.lines)
    noun = "problem" if found == 1 else "problems"
    lines = [f"{self.folder}: {found} {noun}, nothing was {self.done}:"]
    lines += self.lines[:SHOWN]
    if found > SHOWN:
      lines.append(f"and {found - SHOWN} more problems")
    raise InputError("\n  ".join(lines))
