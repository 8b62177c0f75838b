"""Flags that contradict each other, refused with what to leave out."""

import importlib.util

from experiments import flags
from experiments.config import values
from experiments.config.given import OF_MEDPATCH, SAFE
from medpatch_jax import schema
from medpatch_jax.medpatch import WITHOUT


def refuse(get, without, kinds) -> None:
  """Refuses flags that contradict each other."""
  if get("save_steps") and get("save_minutes") != SAFE["save_minutes"]:
    raise ValueError("--save_steps is instead of --save_minutes: pass one.")
  if get("wandb") and not importlib.util.find_spec("wandb"):
    raise ValueError(
      f"--wandb={get('wandb')}: the package wandb is not installed; install it,"
      " or leave the flag out."
    )
  if set(without) == set(WITHOUT):
    raise ValueError("--without leaves no prediction: leave one module in.")
  if "joint" in without and get("head") not in ("validation", "late"):
    raise ValueError(
      f"--head={get('head')} averages the joint module's predictions, which"
      " --without=joint leaves out: pass --head=late."
    )
  released = values.released(get("as_released"))
  if get("late_pooling") != "mean" and "late_norm" in released:
    raise ValueError(
      "--as_released=late_norm is of --late_pooling=mean: leave one out."
    )
  own = [m for m in kinds if m not in schema.MODALITIES]
  if own and "presence_order" in released and get("model") == "medpatch":
    raise ValueError(
      "--as_released=presence_order: the released code has an order of"
      f" {', '.join(schema.MODALITIES)}, not of {', '.join(own)}; leave it out."
    )
  stacked = get("late_pooling") == "stacked"
  if stacked and get("head") not in ("validation", "late"):
    raise ValueError(
      f"--head={get('head')}: --late_pooling=stacked has one head, late, which"
      " holds the others; leave --head out, or pass --as_published."
    )
  if get("cross_fit") == 1 or (get("cross_fit") and not stacked):
    raise ValueError(
      f"--cross_fit={get('cross_fit')}: wanted 2 or more, with"
      " --late_pooling=stacked, whose weights it is for."
    )
  if get("cross_fit") and get("held_out"):
    raise ValueError(
      "--cross_fit and --held_out both keep stays from the encoders: leave one"
      " out."
    )
  if get("model") == "unimodal" and len(kinds) != 1:
    raise ValueError(
      f"--model=unimodal takes one modality, not {', '.join(kinds)}: pass"
      f" --modalities={next(iter(kinds))}, or another."
    )
  if get("modality_dropout") and "absent_tokens" in released:
    raise ValueError(
      "--modality_dropout hides what --as_released=absent_tokens shows; leave"
      " one out."
    )
  if get("held_out") and get("model") in ("joint", flags.RAW):
    raise ValueError(
      f"--held_out is of a stage 3 on frozen encoders; --model={get('model')}"
      " learns all at once: leave it out."
    )
  if get("ehr_dropout") and get("ehr") != "lstm":
    raise ValueError(
      f"--ehr_dropout is of --ehr=lstm; --ehr={get('ehr')} has its own."
    )
  if get("freeze") and not get("init_from"):
    raise ValueError(
      f"--freeze={get('freeze')} keeps what --init_from brings: pass it, too."
    )
  if get("init_from") and get("authors"):
    raise ValueError(
      "--init_from and --authors both bring encoders: leave one out."
    )
  if not get("authors"):
    return
  if get("fuser") == "bilinear":
    raise ValueError(
      "--fuser=bilinear: the files of --authors have no products; give the fuser"
      " that the file was made with."
    )
  if "text" in kinds.values() and not get("bert"):
    raise ValueError(
      "--authors holds no vocabulary: pass --bert=DIR, the folder of the text"
      " encoder it was made with."
    )
  for name, wanted in (
    ("ehr", "lstm"),
    ("staleness", False),
    ("deviation", False),
    ("classifier_norm", True),
    ("calibration", "position"),
    ("late_pooling", "mean"),
    ("held_out", 0.0),
  ):
    if get(name) != wanted:
      raise ValueError(
        f"--{name}={get(name)}: --authors brings its own, {wanted}; leave"
        f" --{name} out."
      )


def refuse_of_baseline(f, get) -> None:
  """Refuses flags that a baseline has no place for."""
  model = get("model")
  for name in OF_MEDPATCH:
    default = f[name].default if f is not None else get(name)
    if get(name) != default:
      raise ValueError(
        f"--{name} is MedPatch's, --model={model} has no such part; leave it"
        " out."
      )
  if get("vit") and model == flags.RAW:
    raise ValueError(
      f"--vit={get('vit')}: --model={model} reads pixels; leave it out."
    )
  if get("finetune_encoders") and model in ("unimodal", "early", "late"):
    raise ValueError(
      f"--model={model} keeps its encoders as stage 1 left them; pass"
      " --model=joint to train them on."
    )
