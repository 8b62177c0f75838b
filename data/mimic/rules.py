"""The choices that decide who is in a dataset and what of them."""

import dataclasses

from data.errors import InputError, nearest
from medpatch_jax.input import variables

CHOICES = {
  "outliers": ("clamp", "keep"),
  "radiology_window": ("stay", "admission"),
  "age": ("admission", "anchor"),
  "ties": ("item", "value"),
  "lab_join": ("time", "admission"),
  "death": ("flag", "dates"),
  "items": ("table", "published"),
  "uncertain": ("negative", "positive"),
}


@dataclasses.dataclass(frozen=True)
class Rules:
  """How raw rows become records; the defaults are this project's.

  Attributes:
    outliers: "clamp" applies the valid ranges, "keep" does not.
    carry_in: hours before intime whose last height and weight fill the first
      hour; 0 for none.
    radiology_window: in phenotyping, reports of the "stay" or of the whole
      "admission".
    age: at "admission", or anchor_age itself ("anchor").
    ties: at one charttime the preferred "item" wins, or the greatest
      "value".
    lab_join: lab rows by subject and "time", or of the "admission" only,
      which loses rows without hadm_id.
    death: hospital_expire_flag ("flag"), or from the "dates" of death.
    items: the "table" of input/variables.py, or the "published" map.
    uncertain: what a finding that CheXpert is unsure of (-1) counts as in
      radiology; "negative" as in the field.
  """

  outliers: str = "clamp"
  carry_in: float = 24.0
  radiology_window: str = "stay"
  age: str = "admission"
  ties: str = "item"
  lab_join: str = "time"
  death: str = "flag"
  items: str = "table"
  uncertain: str = "negative"

  def __post_init__(self):
    for name, choices in CHOICES.items():
      value = getattr(self, name)
      if value not in choices:
        raise InputError(
          f"--{name}={value}: wanted one of {', '.join(choices)}."
          f"{nearest(value, choices)}"
        )
    if not 0 <= self.carry_in <= 168:
      raise InputError(
        f"--carry_in={self.carry_in:g}h: wanted between 0h and 168h."
      )

  @property
  def variables(self):
    if self.items == "published":
      return variables.published()
    return variables.VARIABLES


def published():
  """The published pipeline's behaviour wherever ours differs."""
  return Rules(
    outliers="keep",
    carry_in=0.0,
    radiology_window="admission",
    age="anchor",
    ties="value",
    lab_join="admission",
    death="dates",
    items="published",
  )
