"""Which vital sign shows which label, and in which hour.

Every phenotype has its own (variable, direction) and its own hour: a variable
serves at most two labels, one in the second-to-last hour of the stay ("early"
slot) and the other, in the opposite direction, in the last hour ("late"
slot); a Glasgow part falls in both, to different scores. Both slots of every variable are charted in every stay, at the
calm level where nothing is shown; so a slot's value is the last of its hour,
and the early one is reset before the late one. Death shows in two hours, the
last two of the first 48 h, as acidosis with delayed capillary refill, two
variables that no phenotype uses: where a stay ends just after 48 h and the
two blocks overlap, they never touch the same variable.
"""

import dataclasses

import numpy as np

# Variables in the order of MIMIC.md section 3; rows of the tables below.
VARIABLES = (
  "capillary_refill", "diastolic", "fio2", "gcs_eye", "gcs_motor",
  "gcs_verbal", "glucose", "heart_rate", "height", "mean_pressure",
  "saturation", "respiratory_rate", "systolic", "temperature", "weight", "ph",
)  # fmt: skip
ROW = {name: i for i, name in enumerate(VARIABLES)}

# Calm level: mean, spread between stays, spread within a stay. In the units
# of MIMIC.md; Glasgow parts and capillary refill are their score or class.
# Means are near the normal values, which fill hours before the first row.
CALM = np.array([
  (0, 0, 0), (60, 3, 3), (0.45, 0.02, 0.02), (4, 0, 0), (6, 0, 0), (5, 0, 0),
  (126, 7, 7), (86, 4, 4), (170, 7, 0), (77, 3, 3), (96.8, 0.4, 0.4),
  (18.5, 1, 1.2), (118, 5, 4), (36.8, 0.15, 0.15), (81, 6, 0.5),
  (7.4, 0.008, 0.008),
])  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Channel:
  """Where a label shows: `level` of `variable` in slot "early" or "late"."""

  variable: str
  slot: str
  level: float


# In the order of schema.PHENOTYPES. Levels lie inside the valid ranges.
PHENOTYPE_CHANNELS = (
  Channel("weight", "late", 150),  # acute renal failure
  Channel("gcs_eye", "late", 1),  # acute cerebrovascular disease
  Channel("heart_rate", "early", 150),  # acute myocardial infarction
  Channel("heart_rate", "late", 36),  # dysrhythmias
  Channel("diastolic", "early", 110),  # chronic kidney disease
  Channel("saturation", "early", 84),  # COPD
  Channel("temperature", "late", 33.6),  # complications of procedures
  Channel("mean_pressure", "early", 125),  # conduction disorders
  Channel("respiratory_rate", "early", 42),  # heart failure
  Channel("diastolic", "late", 24),  # coronary atherosclerosis
  Channel("glucose", "early", 340),  # diabetes with complications
  Channel("glucose", "late", 40),  # diabetes without complication
  Channel("fio2", "late", 0.21),  # lipid metabolism
  Channel("systolic", "early", 190),  # essential hypertension
  Channel("gcs_verbal", "early", 4),  # fluid and electrolytes
  Channel("mean_pressure", "late", 40),  # gastrointestinal hemorrhage
  Channel("gcs_eye", "early", 2),  # hypertension with complications
  Channel("gcs_verbal", "late", 2),  # other liver diseases
  Channel("respiratory_rate", "late", 6),  # other lower respiratory
  Channel("saturation", "late", 100),  # other upper respiratory
  Channel("gcs_motor", "early", 5),  # pleurisy, pneumothorax
  Channel("fio2", "early", 0.90),  # pneumonia
  Channel("gcs_motor", "late", 1),  # respiratory failure
  Channel("temperature", "early", 40.2),  # septicemia
  Channel("systolic", "late", 64),  # shock
)
SLOTS = ("early", "late")
SLOT_BINS_FROM_END = {"early": 2, "late": 1}

# What a disconnected monitor shows in an hour that is noise: pH where the hour
# is one of the phenotypes', heart rate where it is one of death's.
MARKS = {"ph": 8.0, "heart_rate": 250}

DEATH_LEVELS = {"ph": 7.05, "capillary_refill": 1.0}
DEATH_BINS = (46, 47)
