"""Everything that is wrong with a folder of tables, said at once.

A problem names table, column and rows, never a value or a text: what stands
in a row may be a patient's.
"""

import dataclasses

from data.errors import InputError

# Rows named of one problem, and problems shown.
ROWS = 5
SHOWN = 50


@dataclasses.dataclass
class Problems:
  """Collects problems; `stop` raises them together."""

  folder: object
  lines: list[str] = dataclasses.field(default_factory=list)

  def add(self, table, what, column=None, rows=(), count=None, unit="row"):
    """Adds one problem.

    Args:
      table: file name.
      what: what was found and what is wanted, without content.
      column: name, or None if no one column is to blame.
      rows: numbers of the first rows that have it, 1 for the first after the
        header.
      count: how many rows have it; as many as `rows` by default.
      unit: what `rows` number.
    """
    rows = [int(r) for r in rows]
    count = len(rows) if count is None else int(count)
    where = f"{table}, column {column}" if column else table
    at = ""
    if rows:
      at = f" ({unit} {', '.join(map(str, rows[:ROWS]))}"
      more = count - len(rows[:ROWS])
      at += f" and {more:,} more)" if more else ")"
    self.lines.append(f"{where}: {what}{at}")

  def stop(self):
    """Ends the build if there is a problem.

    Raises:
      InputError: lists them.
    """
    if not self.lines:
      return
    found = len(self.lines)
    noun = "problem" if found == 1 else "problems"
    lines = [f"{self.folder}: {found} {noun}, nothing was built:"]
    lines += self.lines[:SHOWN]
    if found > SHOWN:
      lines.append(f"and {found - SHOWN} more problems")
    raise InputError("\n  ".join(lines))
