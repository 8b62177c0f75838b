"""The command-line flags of a training run; library code never sees flags."""

import logging
import sys

from absl import flags

from data import errors
from data.errors import InputError
from medpatch_jax import baselines, compiled, presets, stacking
from medpatch_jax.input import places
from medpatch_jax.joint import FUSERS
from medpatch_jax.medpatch import LATE_POOLINGS
from medpatch_jax.train import optimizer, parallel, stop
from medpatch_jax.train.log import logger

STAGES = ("unimodal", "confidence", "calibrate", "fuse")
CALIBRATIONS = ("none", "scalar", "label", "position")
EHR = ("lstm", "transformer", "additive")
HEADS = ("late", "combined", "reduced")
LOSS_WEIGHTS = ("learned", "uniform", "uncertainty")
DTYPES = ("float32", "bfloat16")

# HEALNet without encoders of stage 1, on hours, pixels and pieces.
RAW = "healnet_raw"
MODELS = ("medpatch", "unimodal", *baselines.BASELINES, RAW)


def define() -> None:
  """Defines the flags of a training run."""
  flags.DEFINE_string("data_dir", None, "Folder that data.build wrote.")
  flags.DEFINE_string(
    "task", "phenotyping", "What to predict: the name of a dataset in data_dir."
  )
  flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, caches, results."
  )
  flags.DEFINE_enum(
    "preset", "tiny", tuple(presets.PRESETS), "Sizes of the model."
  )
  flags.DEFINE_enum(
    "model",
    "medpatch",
    MODELS,
    "MedPatch, or a baseline on the same encoders.",
  )
  flags.DEFINE_enum(
    "stage",
    "all",
    ("all", *STAGES),
    "The stage to run; earlier ones must be complete.",
  )
  flags.DEFINE_list(
    "modalities",
    None,
    "Subset of the dataset's to learn from, as ehr,cxr; all by default. The"
    " order matters to presence_order only.",
  )
  flags.DEFINE_integer(
    "seed", 0, "Of initialisation, order and dropout.", lower_bound=0
  )
  flags.DEFINE_integer(
    "batch_size", None, "Rows of an update over all devices.", lower_bound=1
  )
  flags.DEFINE_list(
    "learning_rate",
    None,
    "Adam's: one number for all stages, or modality=number for stages 1 and 2"
    " and fuse=number for stage 3; by preset.",
  )
  flags.DEFINE_enum(
    "schedule",
    None,
    optimizer.SCHEDULES,
    "Learning rate: halved on a plateau, or falling linearly to 0; by preset.",
  )
  flags.DEFINE_float(
    "adam_b2", 0.999, "Adam's second decay; released 0.9.", 0.0, 1.0
  )
  flags.DEFINE_float("clip", None, "Largest global gradient norm, above 0.")
  flags.DEFINE_list(
    "epochs",
    None,
    "Most epochs of stages 1 and 3: one number, or modality=number and"
    " fuse=number; by preset.",
  )
  flags.DEFINE_integer(
    "patience",
    None,
    "Epochs without a better validation score before stopping.",
    lower_bound=1,
  )
  flags.DEFINE_float(
    "save_minutes", 1.0, "Least time between two saves.", lower_bound=0.0
  )
  flags.DEFINE_integer(
    "save_steps",
    None,
    "Updates between two saves, instead of --save_minutes.",
    lower_bound=1,
  )
  flags.DEFINE_enum(
    "dtype",
    "float32",
    DTYPES,
    "Of matrix products and activations; parameters, sums, softmax, norms'"
    " statistics and losses are float32.",
  )
  flags.DEFINE_integer(
    "accumulate",
    1,
    "Parts of a batch that are computed one by one and added up, to save"
    " memory.",
    lower_bound=1,
  )
  flags.DEFINE_bool(
    "remat",
    False,
    "Transformer blocks are computed again in the backward pass instead of"
    " kept, to save memory.",
  )
  flags.DEFINE_string(
    "profile",
    None,
    "START:STOP, updates of each stage of which a JAX profile is written.",
  )
  flags.DEFINE_string(
    "wandb", None, "Project of Weights & Biases to send numbers to."
  )
  flags.DEFINE_enum(
    "calibration",
    "position",
    CALIBRATIONS,
    "One temperature per modality (scalar), per label, per token position"
    " and label, or none.",
  )
  flags.DEFINE_integer(
    "calibration_steps",
    700,
    "Least updates of stage 2b (at least 5 epochs).",
    lower_bound=0,
  )
  flags.DEFINE_enum(
    "confidence",
    "confidence",
    ("confidence", "entropy", "balanced", "random"),
    "What tokens are grouped by; balanced is confidence beyond the label's base"
    " rate, as it were if half of the stays had it; random deals a stay's"
    " confidences out to its tokens anew. --threshold=0.5 puts all into one"
    " group.",
  )
  flags.DEFINE_list(
    "threshold",
    None,
    "Threshold of the high cluster: one number, or modality=number pairs."
    " Default 0.75, or 0.8113 bits for entropy.",
  )
  flags.DEFINE_enum("fuser", "concat", FUSERS, "Of the joint module.")
  flags.DEFINE_list(
    "without", [], "Modules left out: unimodal, missingness, joint."
  )
  flags.DEFINE_bool(
    "as_published",
    False,
    "The method of the paper: --late_pooling is mean by default, with its heads."
    " --as_released and --authors imply it.",
  )
  flags.DEFINE_enum(
    "late_pooling",
    None,
    LATE_POOLINGS,
    "Late head: stacked (default), a sum of what every source says beyond the"
    " base rate with products of any two modalities, its weights fitted on"
    " stays that no encoder learned from; mean of the logits of the sources a"
    " stay has (published); or sum, Bayes' rule for independent modalities.",
  )
  flags.DEFINE_enum(
    "loss_weights", "learned", LOSS_WEIGHTS, "Of high, low and late."
  )
  flags.DEFINE_enum(
    "head",
    "validation",
    ("validation", *HEADS),
    "The reported head: fixed, or the best on validation.",
  )
  flags.DEFINE_enum(
    "pairs",
    "partial",
    ("partial", "paired"),
    "Train on all stays, or only on those with every modality.",
  )
  flags.DEFINE_float(
    "train_fraction",
    1.0,
    "Share of the train split's patients to learn from.",
    0.0,
    1.0,
  )
  flags.DEFINE_float(
    "held_out",
    0.0,
    "Share of these patients that encoders and their confidence do not see, and"
    " that stage 3 learns from, and from no others (stacking; Wolpert 1992).",
    0.0,
    0.9,
  )
  flags.DEFINE_integer(
    "cross_fit",
    None,
    "Encoders trained beside each one, every one without another part of the"
    " patients of train, so that --late_pooling=stacked fits its weights on"
    " stays of train, too. 0 fits them on validation alone. Default: 5 where"
    f" validation has fewer than {stacking.FEW} cases over all labels, else 0.",
    lower_bound=0,
  )
  flags.DEFINE_list(
    "missing_train",
    [],
    "Share of the stays of train and validation that modalities are taken"
    " from: rate, modality=rate, or modality=rate:rate, the second for stays"
    " with the label, or of several with more than the median stay.",
  )
  flags.DEFINE_list(
    "missing_test", [], "The same for the test split; not a matter of training."
  )
  flags.DEFINE_float(
    "modality_dropout",
    0.0,
    "Share of a stay's modalities hidden in each update of stage 3, for every"
    " model as if they were absent; one is always left.",
    0.0,
    0.9,
  )
  flags.DEFINE_integer(
    "hours_per_stay",
    8,
    "Of a task that predicts at every hour: hours of a stay that train and"
    " validation take, spread over it; 0 for all. The test split has all.",
    lower_bound=0,
  )
  flags.DEFINE_integer(
    "max_note_windows",
    None,
    "Windows that are read of a stay's notes of one kind, the earliest; what is"
    " beyond is dropped. 16 of --preset=base, 4 of tiny by default.",
    lower_bound=1,
  )
  flags.DEFINE_list(
    "as_released",
    [],
    "Behaviours of the released code to restore (METHOD.md, bold), or all.",
  )
  flags.DEFINE_enum(
    "parallel", "pmap", parallel.KINDS, "How devices share a batch."
  )
  flags.DEFINE_string(
    "bert",
    None,
    "Hugging Face folder of a pretrained BERT-type encoder for the notes.",
  )
  flags.DEFINE_string("vit", None, "timm checkpoint of ViT-S/16 for the films.")
  flags.DEFINE_enum(
    "ehr",
    "lstm",
    EHR,
    "Encoder of the hourly series. additive is a generalised additive model,"
    " with pairwise interactions, of what was measured so far"
    " (medpatch_jax/encode/additive.py).",
  )
  flags.DEFINE_bool(
    "staleness",
    False,
    "The series gets, for each variable, a channel of the time since it was"
    " measured.",
  )
  flags.DEFINE_bool(
    "deviation",
    False,
    "The series gets, for each variable that is a number, a channel of how far"
    " it is from its mean, above or below.",
  )
  flags.DEFINE_float(
    "ehr_dropout",
    0.0,
    "Share of the LSTM's summary dropped in training of stage 1.",
    0.0,
    0.9,
  )
  flags.DEFINE_float(
    "clip_z",
    None,
    "Values of the series further than this many standard deviations from"
    " their mean are cut there.",
    lower_bound=1.0,
  )
  flags.DEFINE_bool(
    "classifier_norm",
    True,
    "A LayerNorm comes before the Dense of each modality's own classifier, as in"
    " the paper.",
  )
  flags.DEFINE_bool(
    "augment",
    None,
    "Films are rotated, shifted and scaled in training; by preset.",
  )
  flags.DEFINE_bool(
    "finetune_encoders",
    False,
    "Stage 3 trains a copy of the encoders for features; confidences still"
    " come from the frozen ones.",
  )
  flags.DEFINE_string(
    "authors",
    None,
    "Checkpoint (.pth.tar) of the authors' code to go on from: its encoders,"
    " confidence heads and temperatures are taken as they are, stage 3 starts"
    " from its parameters (--epochs=0 takes these as they are, too).",
  )
  flags.DEFINE_string(
    "init_from",
    None,
    "Exported folder, timm checkpoint, Hugging Face folder or the authors'"
    " .pth.tar to start from (docs/export.md): what fits by name and shape is"
    " taken, and the vocabulary.",
  )
  flags.DEFINE_enum(
    "freeze",
    None,
    ("encoders",),
    "What --init_from brings of the encoders stays as it is: only what is new"
    " of them, heads, confidence, temperatures and fusion are fitted.",
  )
  flags.DEFINE_float(
    "cache_gb",
    None,
    "Most GB (1e9 bytes) on disk for what is kept of frozen encoders: the pools"
    " of a run, then what a frozen BERT makes of each note. What takes more is"
    " made anew in every epoch, with the same results. No bound by default.",
    lower_bound=0.0,
  )
  flags.DEFINE_string(
    "share",
    None,
    "Folder of encoders, temperatures and pools that runs share; what another"
    " run left there is read back, where everything it depends on is equal.",
  )


def define_processes() -> None:
  """Defines the flags of a command that several processes may run together."""
  flags.DEFINE_string(
    "coordinator",
    None,
    "Several processes: host:port of process 0, or auto for what SLURM, Open MPI"
    " or a Cloud TPU tell.",
  )
  flags.DEFINE_integer("processes", None, "How many there are.", lower_bound=1)
  flags.DEFINE_integer("process", None, "This one, from 0.", lower_bound=0)


def connect() -> None:
  """Joins the processes of the command; all but the first say little.

  Raises:
    ValueError: the flags do not go together, or the processes do not meet.
  """
  f = flags.FLAGS
  count, index = f.processes, f.process
  if f.coordinator in (None, "auto") and (count, index) != (None, None):
    raise ValueError(
      "--processes and --process need --coordinator=HOST:PORT of process 0."
    )
  if (count is None) != (index is None):
    raise ValueError(
      "--processes and --process go together, or neither for what SLURM tells."
    )
  if index is not None and index >= count:
    raise ValueError(
      f"--process={index}: wanted 0 to {count - 1}, --processes={count}."
    )
  if not parallel.connect(f.coordinator, count, index):
    logger.setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
  """Names commands as they were called."""

  def format(self, record):
    return places.worded(super().format(record))


def run(main) -> None:
  """Runs `main(argv)` under absl, progress on stderr, errors in one line.

  A `ValueError` is bad input: its message is shown and the exit code is 2, as
  for a full disk and a loss that is not finite. After SIGTERM it is 143, after
  Ctrl-C 130.
  """
  from absl import logging as absl_logging

  absl_logging.set_verbosity(absl_logging.WARNING)
  shown = logging.StreamHandler()
  shown.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  logger.addHandler(shown)
  logger.setLevel(logging.INFO)
  logger.propagate = False

  def guarded(argv):
    try:
      with compiled.kept():
        main(argv)
    except InputError:
      raise
    except (ValueError, FloatingPointError) as error:
      raise InputError(" ".join(str(error).split())) from error
    except stop.Stopped as error:
      logger.info("%s; the same command goes on from here", error)
      sys.exit(error.code)

  errors.run(guarded)
