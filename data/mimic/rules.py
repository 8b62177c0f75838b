"""The choices that decide who is in a dataset and what of them."""

import dataclasses

from data.errors import InputError, nearest
from medpatch_jax.input import variables

CHOICES = {
  "outliers": ("clamp", "keep"),
  "radiology_window": ("stay", "admission"),
  "age": ("admission", "anchor"),
  "ties": ("item", "value", "text"),
  "numbers": ("valuenum", "value"),
  "units": ("item", "published"),
  "lab_join": ("time", "admission"),
  "chart_join": ("time", "stay"),
  "death": ("flag", "dates"),
  "after_death": ("hide", "keep"),
  "report_time": ("store", "chart"),
  "items": ("table", "published"),
  "normals": ("data", "published"),
  "uncoded": ("keep", "drop"),
  "uncertain": ("negative", "positive"),
  "split": ("hash", "anchor_year_group"),
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
      "value", or what is greatest as charted "text" in variables that the
      published pipeline does not convert.
    numbers: column that a number is read from, "valuenum" or "value", the
      text; of a row whose text is no number, such as "___", the second takes
      none.
    units: by the "item", or what the "published" pipeline makes of them.
    lab_join: lab rows by subject and "time", or only those that name an
      "admission" of the cohort, which loses rows without hadm_id.
    chart_join: chart rows by subject and "time", or only those that name a
      "stay" of the cohort.
    death: hospital_expire_flag ("flag"), or from the "dates" of death.
    after_death: "hide" ends a stay at the death and leaves out those that
      begin later (`death`), "keep" does neither.
    report_time: a radiology report is shown from its storetime ("store"), or
      from its charttime, that of the study ("chart").
    items: the "table" of input/variables.py, or the "published" map.
    normals: coma-scale values before the first measurement in the spelling
      of the "data", or in the "published" one.
    uncoded: stays whose admission has no diagnosis code: "keep" or "drop".
    uncertain: what a finding that CheXpert is unsure of (-1) counts as in
      radiology; "negative" as in the field.
    split: by a "hash" of subject_id, or by time: the latest
      "anchor_year_group" is test.
  """

  outliers: str = "clamp"
  carry_in: float = 24.0
  radiology_window: str = "stay"
  age: str = "admission"
  ties: str = "item"
  numbers: str = "valuenum"
  units: str = "item"
  lab_join: str = "time"
  chart_join: str = "time"
  death: str = "flag"
  after_death: str = "hide"
  report_time: str = "store"
  items: str = "table"
  normals: str = "data"
  uncoded: str = "keep"
  uncertain: str = "negative"
  split: str = "hash"

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
    return variables.of(self.items, self.normals)


def published():
  """The published pipeline's behaviour wherever ours differs."""
  return Rules(
    outliers="keep",
    carry_in=0.0,
    radiology_window="admission",
    age="anchor",
    ties="text",
    numbers="value",
    units="published",
    lab_join="admission",
    chart_join="stay",
    death="dates",
    after_death="keep",
    report_time="chart",
    items="published",
    normals="published",
    uncoded="drop",
  )
