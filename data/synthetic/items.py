"""Charted items: ids, units and spellings of MIMIC-IV.

Numbers of an item are `variable * scale + shift`, rounded to `decimals`.
"""

import dataclasses

import numpy as np

from data.synthetic import channels


@dataclasses.dataclass(frozen=True)
class Item:
  """One itemid of one table. `share` is how often its variable comes by it."""

  itemid: int
  variable: str
  share: float
  label: str
  unit: str
  category: str
  scale: float = 1.0
  shift: float = 0.0
  decimals: int = 0
  lab: bool = False


VITAL, RESPIRATORY = "Routine Vital Signs", "Respiratory"
PULSES, LABS, GAS = "Cardiovascular (Pulses)", "Labs", "Blood Gas"
NEURO, GENERAL = "Neurological", "General"

# Per variable in the order of MIMIC.md's table, which breaks ties.
ITEMS = (
  Item(223951, "capillary_refill", 0.6, "Capillary Refill R", "", PULSES),
  Item(224308, "capillary_refill", 0.4, "Capillary Refill L", "", PULSES),
  Item(
    220051,
    "diastolic",
    0.35,
    "Arterial Blood Pressure diastolic",
    "mmHg",
    VITAL,
  ),
  Item(225310, "diastolic", 0.05, "ART BP Diastolic", "mmHg", VITAL),
  Item(
    220180,
    "diastolic",
    0.56,
    "Non Invasive Blood Pressure diastolic",
    "mmHg",
    VITAL,
  ),
  Item(
    224643,
    "diastolic",
    0.02,
    "Manual Blood Pressure Diastolic Left",
    "mmHg",
    VITAL,
  ),
  Item(
    227242,
    "diastolic",
    0.02,
    "Manual Blood Pressure Diastolic Right",
    "mmHg",
    VITAL,
  ),
  Item(223835, "fio2", 1.0, "Inspired O2 Fraction", "", RESPIRATORY, 100.0),
  Item(220739, "gcs_eye", 1.0, "GCS - Eye Opening", "", NEURO),
  Item(223901, "gcs_motor", 1.0, "GCS - Motor Response", "", NEURO),
  Item(223900, "gcs_verbal", 1.0, "GCS - Verbal Response", "", NEURO),
  Item(
    225664, "glucose", 0.35, "Glucose finger stick (range 70-100)", "", LABS
  ),
  Item(220621, "glucose", 0.2, "Glucose (serum)", "mg/dL", LABS),
  Item(226537, "glucose", 0.05, "Glucose (whole blood)", "mg/dL", LABS),
  Item(50931, "glucose", 0.3, "Glucose", "mg/dL", "Chemistry", lab=True),
  Item(50809, "glucose", 0.1, "Glucose", "mg/dL", GAS, lab=True),
  Item(220045, "heart_rate", 1.0, "Heart Rate", "bpm", VITAL),
  Item(226730, "height", 0.5, "Height (cm)", "cm", GENERAL),
  Item(226707, "height", 0.5, "Height", "Inch", GENERAL, 1 / 2.54, decimals=1),
  Item(
    220052, "mean_pressure", 0.35, "Arterial Blood Pressure mean", "mmHg", VITAL
  ),
  Item(225312, "mean_pressure", 0.05, "ART BP Mean", "mmHg", VITAL),
  Item(224322, "mean_pressure", 0.02, "IABP Mean", "mmHg", "IABP"),
  Item(
    220181,
    "mean_pressure",
    0.58,
    "Non Invasive Blood Pressure mean",
    "mmHg",
    VITAL,
  ),
  Item(
    220277, "saturation", 0.93, "O2 saturation pulseoxymetry", "%", RESPIRATORY
  ),
  Item(220227, "saturation", 0.04, "Arterial O2 Saturation", "%", LABS),
  Item(50817, "saturation", 0.03, "Oxygen Saturation", "%", GAS, lab=True),
  Item(
    220210, "respiratory_rate", 0.9, "Respiratory Rate", "insp/min", RESPIRATORY
  ),
  Item(
    224690,
    "respiratory_rate",
    0.1,
    "Respiratory Rate (Total)",
    "insp/min",
    RESPIRATORY,
  ),
  Item(
    220050, "systolic", 0.35, "Arterial Blood Pressure systolic", "mmHg", VITAL
  ),
  Item(225309, "systolic", 0.05, "ART BP Systolic", "mmHg", VITAL),
  Item(
    220179,
    "systolic",
    0.56,
    "Non Invasive Blood Pressure systolic",
    "mmHg",
    VITAL,
  ),
  Item(
    224167,
    "systolic",
    0.02,
    "Manual Blood Pressure Systolic Left",
    "mmHg",
    VITAL,
  ),
  Item(
    227243,
    "systolic",
    0.02,
    "Manual Blood Pressure Systolic Right",
    "mmHg",
    VITAL,
  ),
  Item(
    223762, "temperature", 0.15, "Temperature Celsius", "°C", VITAL, decimals=1
  ),
  Item(
    223761,
    "temperature",
    0.85,
    "Temperature Fahrenheit",
    "°F",
    VITAL,
    1.8,
    32.0,
    1,
  ),
  Item(
    226512, "weight", 0.2, "Admission Weight (Kg)", "kg", GENERAL, decimals=1
  ),
  Item(224639, "weight", 0.5, "Daily Weight", "kg", GENERAL, decimals=1),
  Item(
    226531,
    "weight",
    0.3,
    "Admission Weight (lbs.)",
    "",
    GENERAL,
    1 / 0.453592,
    decimals=1,
  ),
  Item(223830, "ph", 0.6, "PH (Arterial)", "units", LABS, decimals=2),
  Item(220274, "ph", 0.15, "PH (Venous)", "units", LABS, decimals=2),
  Item(50820, "ph", 0.25, "pH", "units", GAS, decimals=2, lab=True),
)

# Score or class -> spellings, of the categorical variables.
SPELLINGS = {
  "gcs_eye": {4: ("Spontaneously",), 3: ("To Speech",), 2: ("To Pain",), 1: ("None",)},
  "gcs_motor": {
    6: ("Obeys Commands",), 5: ("Localizes Pain",), 4: ("Flex-withdraws",),
    3: ("Abnormal Flexion",), 2: ("Abnormal extension",), 1: ("No response",),
  },
  "gcs_verbal": {
    5: ("Oriented",), 4: ("Confused",), 3: ("Inappropriate Words",),
    2: ("Incomprehensible sounds",), 1: ("No Response", "No Response-ETT"),
  },
  "capillary_refill": {
    0: ("Normal <3 Seconds", "Normal <3 secs", "Brisk"),
    1: ("Abnormal >3 Seconds", "Abnormal >3 secs", "Delayed"),
  },
}  # fmt: skip

# Items the project does not use: most rows of chartevents. Id, label,
# category and what is charted (texts, or a range of integers).
UNUSED = (
  (227969, "Safety Measures", "Restraint/Support Systems", ("Bed in low position", "Call light within reach", "ID band on")),
  (220048, "Heart Rhythm", VITAL, ("SR (Sinus Rhythm)", "ST (Sinus Tachycardia)", "AF (Atrial Fibrillation)")),
  (224650, "Ectopy Type 1", VITAL, ("None", "PVC's", "PAC's")),
  (227958, "Less Restrictive Measures", "Restraint/Support Systems", ("Repositioned", "Verbal de-escalation")),
  (223792, "Pain Management", "Pain/Sedation", ("Ice", "Rest", "Medicated")),
  (224080, "Head of Bed", "Treatments", ("30 Degrees", "45 Degrees")),
  (224082, "Turn", "Treatments", ("Turn", "Side to Back", "Self")),
  (224086, "Activity Tolerance", "Treatments", ("Good", "Fair", "Poor")),
  (224093, "Position", "Treatments", ("Supine", "Left Side", "Right Side")),
  (224642, "Temperature Site", VITAL, ("Oral", "Axillary", "Blood")),
  (226732, "O2 Delivery Device(s)", RESPIRATORY, ("None", "Nasal cannula", "Endotracheal tube")),
  (223987, "RLL Lung Sounds", "Pulmonary", ("Clear", "Diminished", "Crackles")),
  (223989, "LLL Lung Sounds", "Pulmonary", ("Clear", "Diminished", "Crackles")),
  (223781, "Pain Present", "Pain/Sedation", ("No", "Yes", "Unable to assess")),
  (224003, "Abdominal Assessment", "GI/GU", ("Soft", "Distended", "Firm")),
  (224004, "Bowel Sounds", "GI/GU", ("Present", "Hypoactive", "Absent")),
  (224015, "Urine Source", "GI/GU", ("Foley", "Voided")),
  (224016, "Urine Color", "GI/GU", ("Yellow", "Amber")),
  (227121, "Pupil Response Right", NEURO, ("Brisk", "Sluggish")),
  (227288, "Pupil Response Left", NEURO, ("Brisk", "Sluggish")),
  (223934, "Dorsal PedPulse R", PULSES, ("Easily Palpable", "Doppler")),
  (223991, "Cough Effort", "Pulmonary", ("Strong", "Weak")),
  (228096, "Richmond-RAS Scale", "Pain/Sedation", (-4, 2)),
  (223791, "Pain Level", "Pain/Sedation", (0, 10)),
  (223907, "Pupil Size Right", NEURO, (2, 6)),
  (228409, "Strength L Arm", NEURO, (0, 5)),
  (224641, "Alarms On", "Alarms", (1, 1)),
  (224168, "Parameters Checked", "Alarms", (1, 1)),
  (220046, "Heart rate Alarm - High", "Alarms", (110, 140)),
  (220047, "Heart Rate Alarm - Low", "Alarms", (40, 60)),
  (224689, "Respiratory Rate (spontaneous)", RESPIRATORY, (0, 30)),
  (220339, "PEEP set", RESPIRATORY, (5, 14)),
)  # fmt: skip

# Other laboratory items: id, label, fluid, category, unit, range of integers.
# Urine glucose and urine pH are among them: they are no blood values.
OTHER_LABS = (
  (50912, "Creatinine", "Blood", "Chemistry", "mg/dL", (1, 4)),
  (50971, "Potassium", "Blood", "Chemistry", "mEq/L", (3, 6)),
  (50983, "Sodium", "Blood", "Chemistry", "mEq/L", (128, 148)),
  (50902, "Chloride", "Blood", "Chemistry", "mEq/L", (96, 110)),
  (51006, "Urea Nitrogen", "Blood", "Chemistry", "mg/dL", (6, 60)),
  (51222, "Hemoglobin", "Blood", "Hematology", "g/dL", (7, 16)),
  (51265, "Platelet Count", "Blood", "Hematology", "K/uL", (60, 400)),
  (51301, "White Blood Cells", "Blood", "Hematology", "K/uL", (4, 20)),
  (51478, "Glucose", "Urine", "Hematology", "mg/dL", (300, 1000)),
  (51491, "pH", "Urine", "Hematology", "units", (5, 9)),
)

ITEM_ROWS = {
  name: np.array([i for i, item in enumerate(ITEMS) if item.variable == name])
  for name in channels.VARIABLES
}
