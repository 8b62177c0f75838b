"""The published cohort's numbers, printed beside the user's own.

MIMIC.md section 2; train, validation and test in that order.
"""

from medpatch_jax import schema

STAYS = {
  "in_hospital_mortality": (18845, 2138, 5243),
  "phenotyping": (42628, 4802, 11914),
}
# The same rules on v3.1, as an independent run reports.
STAYS_V3 = {
  "in_hospital_mortality": (29171, 2161, 5302),
  "phenotyping": (60909, 4756, 11845),
}
# Of the other tasks stays with both EHR and film are published (MedMod, CHIL
# 2025), those of hourly tasks in hours.
REMARKS = {
  task: [
    f"Published of stays with a film, train, validation, test: {counts} {what}."
  ]
  for task, counts, what in (
    ("decompensation", "716,836 / 78,149 / 216,663", "hours"),
    ("length_of_stay", "720,042 / 78,519 / 217,504", "hours"),
    ("radiology", "25,022 / 2,745 / 7,220", "films"),
  )
}
# Percent of stays that have a modality.
PRESENT = {
  "in_hospital_mortality": {"ehr": 100, "cxr": 24, "rr": 86},
  "phenotyping": {"ehr": 100, "cxr": 18, "rr": 90, "dn": 94},
}
# Percent of stays with a label, in the order of `schema.TASKS`.
LABELS = {
  "in_hospital_mortality": ((12.5, 11.9, 12.4),),
  "phenotyping": (
    (26.9, 26.1, 26.9),
    (5.6, 5.0, 5.7),
    (7.5, 7.6, 7.7),
    (32.6, 31.1, 32.4),
    (20.6, 20.8, 21.0),
    (14.3, 14.6, 14.1),
    (18.9, 19.4, 18.3),
    (10.0, 10.6, 10.2),
    (25.5, 25.7, 25.0),
    (31.1, 31.8, 31.7),
    (11.4, 12.2, 11.1),
    (17.2, 17.3, 17.3),
    (40.5, 41.7, 40.6),
    (41.8, 41.3, 42.0),
    (37.2, 37.0, 37.2),
    (7.0, 6.7, 7.2),
    (21.5, 21.9, 21.7),
    (12.5, 12.4, 12.5),
    (9.5, 9.8, 9.5),
    (4.8, 5.7, 4.7),
    (6.7, 6.7, 6.9),
    (12.7, 12.4, 12.3),
    (16.0, 16.7, 15.6),
    (15.8, 15.4, 15.6),
    (12.3, 12.3, 12.0),
  ),
}


def of(task, labels, number):
  """The published cohort's numbers of one split, where there are any."""
  if task not in STAYS:
    return {}
  return {
    "stays": STAYS[task][number],
    "stays_v3": STAYS_V3[task][number],
    "present": PRESENT[task],
    **(
      {"labels": [rates[number] for rates in LABELS[task]]}
      if tuple(labels) == schema.TASKS[task].labels
      else {}
    ),
  }
