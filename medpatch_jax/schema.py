"""Names of modalities, tasks and labels, and every structure that travels.

Dims: B stays, M modalities, T tokens, D encoder width, E joint width, C labels.
"""

import dataclasses

import flax.struct
import jax

# The one order used everywhere: columns of `present`, rows of the late
# weights, inputs of the fusers.
MODALITIES = ("ehr", "cxr", "rr", "dn")
KINDS = {"ehr": "series", "cxr": "image", "rr": "text", "dn": "text"}
TITLES = {
  "ehr": "EHR (hourly vitals and labs)",
  "cxr": "CXR (chest X-ray)",
  "rr": "RR (radiology reports)",
  "dn": "DN (discharge note)",
}

# Behaviours of the released code that contradict the paper; each can be
# restored alone (docs/deviations.md).
RELEASED = (
  "image_norm",
  "mirror",
  "padding_tokens",
  "absent_tokens",
  "ehr_uncalibrated",
  "entropy_direction",
  "late_norm",
  "presence_order",
)

# HCUP CCS single-level number, kind (acute, mixed, chronic) and name, in the
# order of the field's phenotyping benchmark.
PHENOTYPES = (
  (157, "acute", "Acute and unspecified renal failure"),
  (109, "acute", "Acute cerebrovascular disease"),
  (100, "acute", "Acute myocardial infarction"),
  (106, "mixed", "Cardiac dysrhythmias"),
  (158, "chronic", "Chronic kidney disease"),
  (127, "chronic", "Chronic obstructive pulmonary disease and bronchiectasis"),
  (238, "acute", "Complications of surgical procedures or medical care"),
  (105, "mixed", "Conduction disorders"),
  (108, "mixed", "Congestive heart failure; nonhypertensive"),
  (101, "chronic", "Coronary atherosclerosis and other heart disease"),
  (50, "mixed", "Diabetes mellitus with complications"),
  (49, "chronic", "Diabetes mellitus without complication"),
  (53, "chronic", "Disorders of lipid metabolism"),
  (98, "chronic", "Essential hypertension"),
  (55, "acute", "Fluid and electrolyte disorders"),
  (153, "acute", "Gastrointestinal hemorrhage"),
  (99, "chronic", "Hypertension with complications and secondary hypertension"),
  (151, "mixed", "Other liver diseases"),
  (133, "acute", "Other lower respiratory disease"),
  (134, "acute", "Other upper respiratory disease"),
  (130, "acute", "Pleurisy; pneumothorax; pulmonary collapse"),
  (
    122,
    "acute",
    "Pneumonia (except that caused by tuberculosis or sexually transmitted disease)",
  ),
  (131, "acute", "Respiratory failure; insufficiency; arrest (adult)"),
  (2, "acute", "Septicemia (except in labor)"),
  (249, "acute", "Shock"),
)


# The findings of CheXpert in a film, in the order of MIMIC-CXR-JPG's columns.
FINDINGS = (
  "Atelectasis",
  "Cardiomegaly",
  "Consolidation",
  "Edema",
  "Enlarged Cardiomediastinum",
  "Fracture",
  "Lung Lesion",
  "Lung Opacity",
  "No Finding",
  "Pleural Effusion",
  "Pleural Other",
  "Pneumonia",
  "Pneumothorax",
  "Support Devices",
)

# Buckets of the hours that are left of a stay: where each begins but the
# first, and their names.
BUCKET_EDGES = (24, 48, 72, 96, 120, 144, 168, 192, 336)
BUCKETS = (
  "Under a day",
  *(f"{n} to {n + 1} days" for n in range(1, 8)),
  "8 to 14 days",
  "Over 14 days",
)


@dataclasses.dataclass(frozen=True)
class Task:
  """A prediction target: its labels and the modalities that may be used.

  Attributes:
    name: of the task.
    labels: C names.
    modalities: those a model may learn from.
    hourly: predicted anew at every hour of a stay, from what is known by
      then; a row is an hour, not a stay.
    classes: exactly one label is true (softmax), not any of them (sigmoid).
  """

  name: str
  labels: tuple[str, ...]
  modalities: tuple[str, ...]
  hourly: bool = False
  classes: bool = False


TASKS = {
  # The discharge note is written after the outcome, so mortality never
  # sees it.
  "in_hospital_mortality": Task(
    "in_hospital_mortality", ("In-hospital death",), MODALITIES[:3]
  ),
  "phenotyping": Task(
    "phenotyping", tuple(name for _, _, name in PHENOTYPES), MODALITIES
  ),
  "decompensation": Task(
    "decompensation", ("Death within 24 hours",), MODALITIES[:3], hourly=True
  ),
  "length_of_stay": Task(
    "length_of_stay", BUCKETS, MODALITIES[:3], hourly=True, classes=True
  ),
  # The findings are read off the film's own report, and a report's charttime
  # may precede its film's: no report is seen.
  "radiology": Task("radiology", FINDINGS, MODALITIES[:2]),
}


@flax.struct.dataclass
class Batch:
  """Rows of raw input, padded to static shapes.

  Attributes:
    inputs: modality -> its fields, by kind. series: `x` f32[B T F] z-scored,
      `mask` bool[B T] real hours. image: `image` u8[B S S] grey. text: `piece`
      i32[B W L] in W windows of L pieces, `mask` bool[B W L] real pieces with
      [CLS] and [SEP]. embedding: `x` f32[B T D], `mask` bool[B T] real tokens.
    present: bool[B M], columns in the order of the model's modalities.
    label: f32[B C] in {0, 1}.
    weight: f32[B], 1 for a real row and 0 for padding.
  """

  inputs: dict[str, dict[str, jax.Array]]
  present: jax.Array
  label: jax.Array
  weight: jax.Array


@flax.struct.dataclass
class Encoded:
  """What an encoder returns for one modality.

  Attributes:
    tokens: f32[B T D], before projection.
    mask: bool[B T], real tokens; all False where the modality is absent.
    summary: f32[B E], after projection; zeros where absent.
  """

  tokens: jax.Array
  mask: jax.Array
  summary: jax.Array


@flax.struct.dataclass
class Pool:
  """One modality's tokens, pooled by confidence (METHOD.md section 4).

  Attributes:
    high: f32[B C D], mean of the high cluster's tokens, zeros if empty.
    low: f32[B C D], likewise of the low cluster.
    has_high: bool[B C], the high cluster holds a token.
    has_low: bool[B C].
    mean_high: f32[B C], mean confidence of the high cluster, 0 if empty.
    mean_low: f32[B C].
    summary: f32[B E], as in `Encoded`.
  """

  high: jax.Array
  low: jax.Array
  has_high: jax.Array
  has_low: jax.Array
  mean_high: jax.Array
  mean_low: jax.Array
  summary: jax.Array


@flax.struct.dataclass
class Pools:
  """A batch for stage 3 with frozen encoders: `Batch` with pools for inputs."""

  inputs: dict[str, Pool]
  present: jax.Array
  label: jax.Array
  weight: jax.Array
