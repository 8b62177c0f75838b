"""Sweeps as values: what `experiments.ablate` trains and holds side by side."""

import dataclasses
import json
import pathlib

from medpatch_jax import schema


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a table.

  Attributes:
    name: shown, and the name of its folder.
    flags: of experiments.train, as on the command line.
    reference: name of the row it is compared with; none for such a row.
  """

  name: str
  flags: tuple[str, ...] = ()
  reference: str | None = None


def _deviations():
  """Each behaviour of the released code alone, beside the run it changes.

  A switch that only acts on another option is compared with that option.
  """
  special = {"mirror": "augment", "entropy_direction": "entropy"}
  rows = [
    Row("ours"),
    Row("augment", ("--augment",), "ours"),
    Row("entropy", ("--confidence=entropy",), "ours"),
  ]
  flags = {row.name: row.flags for row in rows}
  for name in schema.RELEASED:
    base = special.get(name, "ours")
    rows.append(Row(name, (*flags[base], f"--as_released={name}"), base))
  return (
    *rows,
    Row("adam_b2", ("--adam_b2=0.9",), "ours"),
    Row("all", ("--as_released=all", "--adam_b2=0.9"), "ours"),
  )


SWEEPS: dict[str, tuple[Row, ...]] = {
  "deviations": _deviations(),
}


def load(name: str) -> tuple[Row, ...]:
  """The sweep of that name, or of a JSON file.

  The file holds a list of {"name": ..., "flags": ["--flag=value", ...],
  "reference": a name or absent}.

  Raises:
    ValueError: neither a known name nor such a file; names the field.
  """
  if name in SWEEPS:
    return SWEEPS[name]
  path = pathlib.Path(name)
  if not path.is_file():
    raise ValueError(
      f"--sweep={name}: wanted one of {', '.join(SWEEPS)}, or a JSON file."
    )
  try:
    rows = tuple(
      Row(r["name"], tuple(r.get("flags", ())), r.get("reference"))
      for r in json.loads(path.read_text("utf-8"))
    )
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(
      f"{path}: {error!r}; wanted a list of"
      ' {"name": ..., "flags": ["--flag=value"], "reference": ...}.'
    ) from None
  names = [row.name for row in rows]
  for row in rows:
    if names.count(row.name) > 1 or "/" in row.name:
      raise ValueError(
        f"{path}: name {row.name!r} is there twice, or holds a slash."
      )
    if row.reference is not None and row.reference not in names:
      raise ValueError(
        f"{path}: row {row.name!r} has reference {row.reference!r}, which is"
        f" no row; wanted one of {', '.join(names)}."
      )
  return rows
