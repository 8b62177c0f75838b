"""Sizes of the model: `base` as published, `tiny` for two cores."""

import dataclasses

from medpatch_jax.input.examples import Shapes


@dataclasses.dataclass(frozen=True)
class Preset:
  """Every size of a run.

  Attributes:
    width: E, the joint width, and the EHR encoder's.
    image_size: pixels a side of a film.
    ehr: depth, heads, head_width, mlp of the EHR transformer, where it is
      chosen over the LSTM.
    cxr: patch, width, depth, heads, mlp of the ViT.
    baselines: sizes of the baselines that have their own.
    text: width, depth, heads, mlp of the BERT-type encoder.
    window: pieces of a text window with [CLS] and [SEP].
    max_windows: windows kept of a text.
    vocab_size: of the vocabulary trained on the train split's notes, used
      where no pretrained text encoder is given.
    hour_buckets: lengths a series is padded to.
    learn_text: the text encoder itself learns in stage 1.
    augment: films are rotated, shifted and scaled in training.
    hide: share of a series' columns hidden in training.
    batch_size: rows of an update.
    epochs: of stage 1 by the modality's kind, and of stage 3: "fuse" of
      MedPatch, "fuse_stacked" of it with stacked late weights, the model's
      name or else "baseline" of the others.
    confidence_epochs: of stage 2.
    patience: epochs without a better validation score before stopping.
    schedule: of the learning rate, plateau (as published) or linear.
    learning_rate: Adam's, of stages 1 and 2 by the modality's kind, of
      "fuse", of "fuse_one_label", MedPatch's stage 3 of a task with a single
      label, of "fuse_stacked", and of a model's name or "baseline".
  """

  width: int
  image_size: int
  ehr: dict[str, int]
  cxr: dict[str, int]
  text: dict[str, int]
  baselines: dict[str, dict[str, int]]
  window: int
  max_windows: int
  vocab_size: int
  hour_buckets: tuple[int, ...]
  learn_text: bool
  augment: bool
  hide: float
  batch_size: int
  epochs: dict[str, int]
  confidence_epochs: int
  patience: int
  schedule: str
  learning_rate: dict[str, float]

  def shapes(
    self,
    columns: dict[str, int],
    hours: int | None = None,
    tokens: dict[str, int] | None = None,
  ) -> Shapes:
    """Static sizes of a batch.

    Args:
      columns: of each series, and widths of embeddings.
      hours: of every series, where all have the same: none is padded.
      tokens: most tokens of each kind of embeddings.
    """
    return Shapes(
      columns=columns,
      hour_buckets=(hours,) if hours else self.hour_buckets,
      image_size=self.image_size,
      window=self.window,
      max_windows=self.max_windows,
      tokens=tokens or {},
    )


PRESETS = {
  # Paper 4.4 and METHOD.md section 1.
  "base": Preset(
    width=512,
    image_size=384,
    ehr=dict(depth=4, heads=4, head_width=128, mlp=768),
    cxr=dict(patch=16, width=384, depth=12, heads=6, mlp=1536),
    text=dict(width=768, depth=12, heads=12, mlp=3072),
    baselines=dict(medfuse=dict(hidden=512), metra=dict(width=512)),
    window=512,
    max_windows=16,
    vocab_size=30_000,
    hour_buckets=(48, 64, 96, 128, 192, 256, 384, 512, 768, 1024),
    learn_text=False,
    augment=True,
    hide=0.0,
    batch_size=16,
    epochs=dict(
      series=100,
      image=100,
      text=100,
      embedding=100,
      fuse=100,
      fuse_stacked=100,
      baseline=100,
    ),
    confidence_epochs=100,
    patience=15,
    schedule="plateau",
    learning_rate=dict(
      series=1e-3,
      image=1e-3,
      text=1e-3,
      embedding=1e-3,
      fuse=1e-3,
      fuse_one_label=1e-3,
      fuse_stacked=1e-3,
      baseline=1e-3,
    ),
  ),
  # Trains in minutes on two cores from random weights: a rate that falls to 0
  # gets further in few epochs. Text has embeddings and no attention: without
  # pretraining a block only adds noise to so few notes (validation AUROC of
  # reports 0.775 with one, 0.794 without, twin of 2,600 subjects). Stage 3
  # starts from encoders that know their training stays too well, so with 25
  # labels it may only move gently (rates chosen on validation, seed 0), but
  # where stacking decides afterwards what its heads are worth. No
  # augmentation: the twin's films are all taken from the same place.
  "tiny": Preset(
    width=64,
    image_size=64,
    ehr=dict(depth=1, heads=2, head_width=32, mlp=128),
    cxr=dict(patch=8, width=64, depth=1, heads=2, mlp=128),
    text=dict(width=64, depth=0, heads=2, mlp=64),
    baselines=dict(
      medfuse=dict(hidden=64),
      metra=dict(width=64, depth=1, heads=2, head_width=32, mlp=128),
      healnet=dict(latents=16, latent_width=32, heads=2, head_width=16),
      drfuse=dict(width=64),
    ),
    window=128,
    max_windows=4,
    vocab_size=2_000,
    hour_buckets=(48, 128, 512),
    learn_text=True,
    augment=False,
    hide=0.2,
    batch_size=16,
    epochs=dict(
      series=10,
      image=24,
      text=14,
      embedding=14,
      fuse=4,
      fuse_stacked=6,
      joint=8,
      healnet=10,
      baseline=16,
    ),
    confidence_epochs=3,
    patience=24,
    schedule="linear",
    learning_rate=dict(
      series=2e-3,
      image=1e-3,
      text=1e-3,
      embedding=1e-3,
      fuse=1e-5,
      fuse_one_label=1e-3,
      fuse_stacked=3e-4,
      joint=1e-3,
      healnet=1e-3,
      baseline=3e-3,
    ),
  ),
}
