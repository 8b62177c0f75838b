"""Flags that contradict each other, refused with what to leave out."""

import importlib.util

from experiments.config import values
from experiments.config.flag import ANY
from experiments.config.names import RAW
from medpatch_jax import schema
from medpatch_jax.medpatch import WITHOUT


def refuse(raw, without, kinds) -> None:
  """Refuses flags that contradict each other."""
  if raw["save_steps"] and raw["save_minutes"] != 1.0:
    raise ValueError("--save_steps is instead of --save_minutes: pass one.")
  if raw["wandb"] and not importlib.util.find_spec("wandb"):
    raise ValueError(
      f"--wandb={raw['wandb']}: the package wandb is not installed; install it,"
      " or leave the flag out."
    )
  if set(without) == set(WITHOUT):
    raise ValueError("--without leaves no prediction: leave one module in.")
  if "joint" in without and raw["head"] not in ("validation", "late"):
    raise ValueError(
      f"--head={raw['head']} averages the joint module's predictions, which"
      " --without=joint leaves out: pass --head=late."
    )
  released = values.released(raw["as_released"])
  if raw["late_pooling"] != "mean" and "late_norm" in released:
    raise ValueError(
      "--as_released=late_norm is of --late_pooling=mean: leave one out."
    )
  own = [m for m in kinds if m not in schema.MODALITIES]
  if own and "presence_order" in released and raw["model"] == "medpatch":
    raise ValueError(
      "--as_released=presence_order: the released code has an order of"
      f" {', '.join(schema.MODALITIES)}, not of {', '.join(own)}; leave it out."
    )
  stacked = raw["late_pooling"] == "stacked"
  if stacked and raw["head"] not in ("validation", "late"):
    raise ValueError(
      f"--head={raw['head']}: --late_pooling=stacked has one head, late, which"
      " holds the others; leave --head out, or pass --as_published."
    )
  if raw["cross_fit"] == 1 or (raw["cross_fit"] and not stacked):
    raise ValueError(
      f"--cross_fit={raw['cross_fit']}: wanted 2 or more, with"
      " --late_pooling=stacked, whose weights it is for."
    )
  if raw["cross_fit"] and raw["held_out"]:
    raise ValueError(
      "--cross_fit and --held_out both keep stays from the encoders: leave one"
      " out."
    )
  if raw["model"] == "unimodal" and len(kinds) != 1:
    raise ValueError(
      f"--model=unimodal takes one modality, not {', '.join(kinds)}: pass"
      f" --modalities={next(iter(kinds))}, or another."
    )
  if raw["modality_dropout"] and "absent_tokens" in released:
    raise ValueError(
      "--modality_dropout hides what --as_released=absent_tokens shows; leave"
      " one out."
    )
  if raw["held_out"] and raw["model"] in ("joint", RAW):
    raise ValueError(
      f"--held_out is of a stage 3 on frozen encoders; --model={raw['model']}"
      " learns all at once: leave it out."
    )
  if raw["ehr_dropout"] and raw["ehr"] != "lstm":
    raise ValueError(
      f"--ehr_dropout is of --ehr=lstm; --ehr={raw['ehr']} has its own."
    )
  if raw["freeze"] and not raw["init_from"]:
    raise ValueError(
      f"--freeze={raw['freeze']} keeps what --init_from brings: pass it, too."
    )
  if raw["init_from"] and raw["authors"]:
    raise ValueError(
      "--init_from and --authors both bring encoders: leave one out."
    )


def refuse_with_authors(flags, raw, kinds) -> None:
  """Refuses flags of what a file of --authors brings."""
  if not raw["authors"]:
    return
  if raw["fuser"] == "bilinear":
    raise ValueError(
      "--fuser=bilinear: the files of --authors have no products; give the fuser"
      " that the file was made with."
    )
  if "text" in kinds.values() and not raw["bert"]:
    raise ValueError(
      "--authors holds no vocabulary: pass --bert=DIR, the folder of the text"
      " encoder it was made with."
    )
  for name, flag in flags.items():
    if flag.of_authors not in (ANY, raw[name]):
      raise ValueError(
        f"--{name}={raw[name]}: --authors brings its own, {flag.of_authors};"
        f" leave --{name} out."
      )


def refuse_of_baseline(flags, raw) -> None:
  """Refuses flags that a baseline has no place for."""
  model = raw["model"]
  for name, flag in flags.items():
    if flag.of_medpatch and raw[name] != flag.default:
      raise ValueError(
        f"--{name} is MedPatch's, --model={model} has no such part; leave it"
        " out."
      )
  if raw["vit"] and model == RAW:
    raise ValueError(
      f"--vit={raw['vit']}: --model={model} reads pixels; leave it out."
    )
  if raw["finetune_encoders"] and model in ("unimodal", "early", "late"):
    raise ValueError(
      f"--model={model} keeps its encoders as stage 1 left them; pass"
      " --model=joint to train them on."
    )
