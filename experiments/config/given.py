"""Which flags decide what: a run, an encoder, its temperatures, its pools."""

from medpatch_jax.input import channels

# Flags that only MedPatch has.
OF_MEDPATCH = (
  "calibration",
  "confidence",
  "threshold",
  "fuser",
  "without",
  "late_pooling",
  "cross_fit",
  "loss_weights",
  "head",
  "authors",
)
# Flags that decide what a run computes: a workdir holds one value of each.
NAMES = (
  "data_dir",
  "task",
  "preset",
  "model",
  "modalities",
  "seed",
  "batch_size",
  "learning_rate",
  "schedule",
  "adam_b2",
  "clip",
  "epochs",
  "patience",
  *OF_MEDPATCH,
  "calibration_steps",
  "pairs",
  "train_fraction",
  "held_out",
  "missing_train",
  "modality_dropout",
  "hours_per_stay",
  "max_note_windows",
  "as_released",
  "bert",
  "vit",
  "ehr",
  "staleness",
  "deviation",
  "ehr_dropout",
  "clip_z",
  "classifier_norm",
  "augment",
  "finetune_encoders",
  "dtype",
  "init_from",
  "freeze",
)
# Flags that do not, but for rounding, with the value an evaluation takes.
SAFE = {
  "save_minutes": 1.0,
  "save_steps": None,
  "parallel": "pmap",
  "accumulate": 1,
  "remat": False,
  "profile": None,
  "wandb": None,
  "missing_test": (),
  "as_published": False,  # Only decides what --late_pooling is by default.
  "cache_gb": None,
}
# Of the first kind: what an encoder and its token confidence depend on,
TRAINING = (
  "data_dir",
  "task",
  "preset",
  "pairs",
  "train_fraction",
  "held_out",
  "missing_train",
  "hours_per_stay",
  "seed",
  "batch_size",
  "schedule",
  "adam_b2",
  "clip",
  "patience",
  "classifier_norm",
  "authors",
  "dtype",
  "init_from",
  "freeze",
)
# and for each kind of encoder beside, flags and released behaviours,
OF_KIND = {
  "series": (
    ("ehr", *channels.ADDED, "ehr_dropout", "clip_z"),
    ("padding_tokens",),
  ),
  "image": (("vit", "augment"), ("image_norm", "mirror")),
  "text": (("bert", "max_note_windows"), ("padding_tokens",)),
  "embedding": ((), ()),
}
FILES = ("authors", "vit", "bert", "init_from")
# then what temperatures and pools depend on.
CALIBRATION = ("calibration", "calibration_steps")
POOLING = ("absent_tokens", "ehr_uncalibrated", "entropy_direction")
