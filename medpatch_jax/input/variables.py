"""The 17 clinical variables of an EHR series: items, units, ranges, classes.

One table drives everything that touches a variable: which rows are read from
the raw files, how they are cleaned, which columns they fill. Source: the
benchmark's variable map and discretiser, with the corrections listed in
docs/data.md.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Variable:
  """One clinical variable.

  Attributes:
    name: as it appears in column names.
    normal: value before the first measurement: a number in the variable's
      unit or, if it has classes, one of them.
    items: itemids of chartevents, the preferred one first.
    labs: itemids of labevents; after `items` in order of preference.
    unit: of the cleaned value.
    classes: charted strings in column order; empty for a number.
    scores: score of each class, used where a string is spelled otherwise.
    limits: (outlier low, valid low, valid high, outlier high). Below the
      first or above the last a value is missing, between outlier and valid
      limit it is clamped. None for classes.
    carry: charted before the ICU is entered, so the last value of the day
      before fills the first hour.
    modality: the series that it is part of.
  """

  name: str
  normal: float | str
  items: tuple[int, ...]
  labs: tuple[int, ...] = ()
  unit: str = ""
  classes: tuple[str, ...] = ()
  scores: tuple[float, ...] = ()
  limits: tuple[float, float, float, float] | None = None
  carry: bool = False
  modality: str = "ehr"

  @property
  def kind(self) -> dict:
    """Its modality as metadata and reports have it: of ehr nothing is said."""
    return {} if self.modality == "ehr" else {"kind": self.modality}

  def to_json(self) -> dict:
    """Every field; infinite limits, which JSON lacks, become None."""
    limits = self.limits and [
      x if np.isfinite(x) else None for x in self.limits
    ]
    return dataclasses.asdict(self) | {"limits": limits}

  @classmethod
  def from_json(cls, value: dict) -> "Variable":
    """Undoes `to_json`."""
    value = {
      k: tuple(v) if isinstance(v, list) else v for k, v in value.items()
    }
    if value["limits"]:
      ends = (-np.inf, -np.inf, np.inf, np.inf)
      value["limits"] = tuple(
        end if x is None else x for x, end in zip(value["limits"], ends)
      )
    return cls(**value)


_EYE = {
  "To Pain": 2,
  "3 To speech": 3,
  "1 No Response": 1,
  "4 Spontaneously": 4,
  "None": 1,
  "To Speech": 3,
  "Spontaneously": 4,
  "2 To pain": 2,
}
_MOTOR = {
  "1 No Response": 1,
  "3 Abnorm flexion": 3,
  "Abnormal extension": 2,
  "No response": 1,
  "4 Flex-withdraws": 4,
  "Localizes Pain": 5,
  "Flex-withdraws": 4,
  "Obeys Commands": 6,
  "Abnormal Flexion": 3,
  "6 Obeys Commands": 6,
  "5 Localizes Pain": 5,
  "2 Abnorm extensn": 2,
}
_VERBAL = {
  "1 No Response": 1,
  "No Response": 1,
  "Confused": 4,
  "Inappropriate Words": 3,
  "Oriented": 5,
  "No Response-ETT": 1,
  "5 Oriented": 5,
  "Incomprehensible sounds": 2,
  "1.0 ET/Trach": 1,
  "4 Confused": 4,
  "2 Incomp sounds": 2,
  "3 Inapprop words": 3,
}
_TOTAL = {str(n): n for n in (11, 10, 13, 12, 15, 14, 3, 5, 4, 7, 6, 9, 8)}


def _classes(scores):
  return {
    "classes": tuple(scores),
    "scores": tuple(float(s) for s in scores.values()),
  }


def _number(name, normal, unit, items, limits, labs=(), carry=False):
  return Variable(name, normal, items, labs, unit, limits=limits, carry=carry)


def _class(name, normal, items, scores):
  return Variable(name, normal, items, **_classes(scores))


# The order of the rows is the order of the columns. The second coma-scale
# spelling of a score (with a number in front) is that of an older charting
# system; MIMIC-IV uses the first, so the normal values do too. Ranges are the
# benchmark's but for what no living adult has: pressures, saturation and
# glucose of 0 (a sensor that is not connected, a field left at its start),
# weights under 20 kg, heights under 100 cm. A heart or respiratory rate of 0 is
# kept: hearts and breathing stop.
VARIABLES = (
  _class(
    "Capillary refill rate", "0.0", (223951, 224308), {"0.0": 0, "1.0": 1}
  ),
  _number(
    "Diastolic blood pressure",
    59.0,
    "mmHg",
    (220051, 225310, 220180, 224643, 227242),
    (1, 1, 375, 375),
  ),
  _number(
    "Fraction inspired oxygen",
    0.21,
    "fraction",
    (223835,),
    (0.2, 0.21, 1, 1.1),
  ),
  _class("Glasgow coma scale eye opening", "Spontaneously", (220739,), _EYE),
  _class(
    "Glasgow coma scale motor response",
    "Obeys Commands",
    (223901,),
    _MOTOR,
  ),
  _class("Glasgow coma scale total", "15", (), _TOTAL),
  _class("Glasgow coma scale verbal response", "Oriented", (223900,), _VERBAL),
  _number(
    "Glucose",
    128.0,
    "mg/dL",
    (225664, 220621, 226537),
    (1, 33, 2000, 2200),
    labs=(50931, 50809),
  ),
  _number("Heart rate", 86.0, "/min", (220045,), (0, 0, 350, 390)),
  _number(
    "Height", 170.0, "cm", (226730, 226707), (100, 100, 240, 275), carry=True
  ),
  _number(
    "Mean blood pressure",
    77.0,
    "mmHg",
    (220052, 225312, 224322, 220181),
    (1, 14, 330, 375),
  ),
  _number(
    "Oxygen saturation",
    98.0,
    "%",
    (220277, 220227),
    (1, 1, 100, 150),
    labs=(50817,),
  ),
  _number("Respiratory rate", 19.0, "/min", (220210, 224690), (0, 0, 300, 330)),
  _number(
    "Systolic blood pressure",
    118.0,
    "mmHg",
    (220050, 225309, 220179, 224167, 227243),
    (1, 1, 375, 375),
  ),
  _number("Temperature", 36.6, "degC", (223762, 223761), (14.2, 26, 45, 47)),
  _number(
    "Weight",
    81.0,
    "kg",
    (226512, 224639, 226531),
    (20, 20, 250, 250),
    carry=True,
  ),
  _number("pH", 7.4, "", (223830, 220274), (6.3, 6.3, 8.4, 10), labs=(50820,)),
)

# Items charted in another unit than their variable's.
FAHRENHEIT = (223761,)
POUNDS = (226531,)
INCHES = (226707,)

# Words of capillary refill, in the spelling of either charting system.
REFILL = {
  "normal <3 seconds": 0,
  "normal <3 secs": 0,
  "brisk": 0,
  "abnormal >3 seconds": 1,
  "abnormal >3 secs": 1,
  "delayed": 1,
}


# Variables that the published pipeline converts by no function of their own,
# so that it sorts them as the text that was charted.
CHARTED = (
  "Glasgow coma scale eye opening",
  "Glasgow coma scale motor response",
  "Glasgow coma scale verbal response",
  "Heart rate",
  "Mean blood pressure",
  "Respiratory rate",
)

# What the published variable map has in place of ours: no item of this
# charting system for capillary refill, a diastolic pressure fewer, spontaneous
# breaths alone as respiratory rate, urine glucose and the pH of urine and
# other fluids as those of blood.
_PUBLISHED_ITEMS = {
  "Capillary refill rate": {"items": ()},
  "Diastolic blood pressure": {"items": (220051, 225310, 220180, 224643)},
  "Glucose": {"labs": (50931, 50809, 51478)},
  "Respiratory rate": {"items": (220210, 224690, 224689, 224422)},
  "pH": {"labs": (50820, 51491, 51094, 50831)},
}
# Normal values in the spelling of the older charting system, whose columns
# are not those that MIMIC-IV's own values fill.
_PUBLISHED_NORMALS = {
  "Glasgow coma scale eye opening": {"normal": "4 Spontaneously"},
  "Glasgow coma scale motor response": {"normal": "6 Obeys Commands"},
  "Glasgow coma scale verbal response": {"normal": "5 Oriented"},
}


def of(items="table", normals="data"):
  """Returns the variable table of a dataset's rules.

  Args:
    items: "table", or "published" for the published map.
    normals: spelling of the coma scale's normal values, "data" or "published".
  """
  changes = _PUBLISHED_ITEMS if items == "published" else {}
  if normals == "published":
    changes = changes | _PUBLISHED_NORMALS
  return tuple(
    dataclasses.replace(v, **changes.get(v.name, {})) for v in VARIABLES
  )


def published():
  """Returns the table that `--as_published` takes."""
  return of("published", "published")


def categories(variable):
  """Word of a category -> its index, for variables of own tables."""
  found = {word: i for i, word in enumerate(variable.classes)}
  # A 1 that went through a table of floats.
  return {f"{w}.0": i for w, i in found.items() if w.isdigit()} | found


def width(variable):
  """Number of value columns of a variable: one, or one for each class."""
  return max(1, len(variable.classes))


def starts(variables=VARIABLES):
  """First value column of each variable of one series, i64[V]."""
  return np.cumsum([0] + [width(v) for v in variables[:-1]])


def series(variables):
  """Modality -> its variables, modalities in the order of their first one."""
  found = {}
  for v in variables:
    found.setdefault(v.modality, []).append(v)
  return {m: tuple(own) for m, own in found.items()}


def columns(variables=VARIABLES):
  """Names of all columns: of each series its values, then its masks."""
  names = []
  for own in series(variables).values():
    for v in own:
      names += [f"{v.name}->{c}" for c in v.classes] or [v.name]
    names += [f"mask->{v.name}" for v in own]
  return names


def continuous(variables=VARIABLES):
  """Indices of the columns that hold numbers, to be z-scored; i64[N]."""
  place = {name: i for i, name in enumerate(columns(variables))}
  numbers = [place[v.name] for v in variables if not v.classes]
  return np.array(numbers, np.int64)


def normals(variables=VARIABLES):
  """Normal value of each variable, f64[V]; of classes, the class's index."""
  return np.array(
    [v.classes.index(v.normal) if v.classes else v.normal for v in variables]
  )
