"""MedPatch: confidence-guided multi-stage fusion. Read this file first.

encode -> confidence -> calibrate -> patch give one `schema.Pool` for each
modality (`pools`); `MedPatch` makes the predictions of METHOD.md sections 4
to 6 and 8 from them.

Dims: B stays, M modalities, T tokens, D token width, E joint width, C labels,
S sources of the late module.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import calibrate, patch
from medpatch_jax.joint import Joint
from medpatch_jax.late import Late, LogOddsSum, Stacked
from medpatch_jax.layers import Classifier
from medpatch_jax.missingness import Missingness
from medpatch_jax.schema import Encoded, Pool, Pools

LATE_POOLINGS = ("mean", "sum", "stacked")
WITHOUT = ("unimodal", "missingness", "joint")
# The order in which the released code makes its predictions.
RELEASED_ORDER = ("ehr", "cxr", "dn", "rr")
# High is confidence >= 0.75, or an entropy of at most that of 0.75, in bits.
THRESHOLDS = {"confidence": 0.75, "entropy": 0.8113}


def pools(
  encoded: Encoded,
  logits,
  temperature: calibrate.Temperature,
  *,
  threshold: float,
  kind: str = "confidence",
  modality: str,
  base_rate: tuple[float, ...] | None = None,
  released: tuple[str, ...] = (),
) -> Pool:
  """One modality's tokens -> its pools (METHOD.md sections 3 and 4).

  Args:
    encoded: tokens f32[B T D], mask bool[B T], summary f32[B E]; gradients
      flow to these.
    logits: f32[B T C] of the confidence head, on the frozen encoder's tokens.
    temperature: of the modality.
    threshold: of the high cluster.
    kind: "confidence", "entropy" in bits, "balanced": confidence as it were
      if half of the stays had the label, or "random": confidences, dealt
      out to the tokens of a stay anew, so that only who has which is lost.
    modality: its name.
    base_rate: log odds of each label, C; read by "balanced" alone.
    released: names of METHOD.md; ehr_uncalibrated and entropy_direction
      count.
  """
  logits = jax.lax.stop_gradient(logits)
  logits = calibrated(logits, temperature, modality, released)
  score, high = groups(
    logits,
    encoded.mask,
    threshold=threshold,
    kind=kind,
    base_rate=base_rate,
    released=released,
  )
  clusters = patch.pool(encoded.tokens, encoded.mask, high, score)
  return Pool(**clusters, summary=encoded.summary)


def groups(logits, mask, *, threshold, kind="confidence", base_rate, released):
  """Scores f32[B T C] that tokens are sorted by, and the high ones bool[B T C].

  Args:
    logits: f32[B T C], after their temperatures.
    mask: bool[B T], real tokens.
    threshold, kind, base_rate, released: of `pools`.
  """
  if kind == "balanced":
    # A token that says of a rare condition "perhaps" has seen something; one
    # that has seen nothing is sure that it is absent.
    logits = logits - jnp.asarray(base_rate)[None, None]
  score = calibrate.confidence(logits)
  if kind == "random":
    score = patch.deal(score, mask)
  if kind in ("confidence", "balanced", "random"):
    return score, score >= threshold
  if "entropy_direction" in released:
    # The released fusers sort by entropy, in nats, as well.
    score = calibrate.entropy(logits) * jnp.log(2.0)
    return score, score >= threshold
  return score, calibrate.entropy(logits) <= threshold


def calibrated(logits, temperature, modality: str, released=()):
  """Confidence logits f32[B T C] after their temperatures."""
  if not divides(modality, logits.shape[-1], released):
    return logits
  return calibrate.apply(logits, temperature)


def divides(modality: str, labels: int, released=()) -> bool:
  """Whether confidences are divided by their temperatures."""
  uncalibrated = modality == "ehr" and "ehr_uncalibrated" in released
  return not uncalibrated or labels == 1  # The released code divides one.


class MedPatch(nn.Module):
  """The joint, missingness and late modules on pooled tokens.

  Attributes:
    modalities: M names, in the order of `schema.MODALITIES`.
    num_labels: C.
    width: E.
    fuser: a name of `joint.FUSERS`.
    without: of unimodal, missingness, joint: what is left out of late.
    late_pooling: mean of the logits (`Late`), sum (`LogOddsSum`) or stacked
      (`Stacked`).
    released: names of METHOD.md; late_norm and presence_order count.
    flag_order: the modalities as the released code's flag names them; matters
      with presence_order only. The order of `modalities` by default.
    unprojected: modalities whose pools are E wide as they are.
    dtype: of the matrix products.
    classifier_norm: `norm` of stage 1's classifiers.
  """

  modalities: tuple[str, ...]
  num_labels: int
  width: int = 512
  fuser: str = "concat"
  without: tuple[str, ...] = ()
  late_pooling: str = "mean"
  released: tuple[str, ...] = ()
  flag_order: tuple[str, ...] | None = None
  unprojected: tuple[str, ...] = ("ehr",)
  dtype: Any = jnp.float32
  classifier_norm: bool = True

  @nn.compact
  def __call__(self, batch: Pools, *, train: bool = False):
    """Predicts from pools.

    Args:
      batch: `schema.Pools`, with present bool[B M].
      train: nothing here depends on it.

    Returns:
      (outputs {modality, "missingness", "high", "low", "late", "combined",
      "reduced": logits f32[B C]}, less what is left out;
      out {"late_weights" f32[B S C] in the order of `sources`,
      "loss_scalars" f32[K], for the loss over high, low and late}).

    Raises:
      ValueError: `without` leaves nothing, or names something else.
    """
    del train
    self._check()
    outputs = self._unimodal(batch) | self._missingness(batch)
    outputs |= self._joint(batch)
    fused, late = self.late_module()(
      jnp.stack([outputs[s] for s in self.sources], axis=1),
      self._presence(batch.present),
    )
    outputs["late"] = fused
    if "high" in outputs:
      high, low = outputs["high"], outputs["low"]
      outputs["combined"] = (high + fused + low) / 3
      outputs["reduced"] = (high + fused) / 2
    terms = 3 if "high" in outputs else 1
    scalars = self.param("loss_scalars", nn.initializers.zeros, (terms,))
    return outputs, {
      "late_weights": late["weights"],
      "loss_scalars": scalars,
    }

  @nn.nowrap
  def late_module(self):
    """What averages or adds up the predictions, by `late_pooling`."""
    if self.late_pooling == "mean":
      return Late(self.released, name="late")
    unimodal = 0 if "unimodal" in self.without else len(self.modalities)
    made = LogOddsSum if self.late_pooling == "sum" else Stacked
    return made(unimodal, name="late")

  @property
  def sources(self) -> tuple[str, ...]:
    """S names: the rows of the late scores."""
    kept = {
      "unimodal": self.modalities,
      "missingness": ("missingness",),
      "joint": ("low", "high"),
    }
    return sum((kept[w] for w in WITHOUT if w not in self.without), ())

  def _check(self):
    unknown = set(self.without) - set(WITHOUT)
    if unknown or set(self.without) == set(WITHOUT):
      raise ValueError(
        f"without={','.join(self.without)}: wanted some of"
        f" {', '.join(WITHOUT)}, but not all, which leaves no prediction."
      )
    if self.late_pooling not in LATE_POOLINGS:
      raise ValueError(
        f"late_pooling={self.late_pooling!r}: wanted one of"
        f" {', '.join(LATE_POOLINGS)}."
      )

  def _unimodal(self, batch):
    if "unimodal" in self.without:
      return {}
    return {
      m: Classifier(
        self.num_labels,
        self.dtype,
        self.classifier_norm,
        name=f"classifier_{m}",
      )(batch.inputs[m].summary)
      for m in self.modalities
    }

  def _missingness(self, batch):
    if "missingness" in self.without:
      return {}
    module = Missingness(self.num_labels, self.dtype, name="missingness")
    return {"missingness": module(batch.present)}

  def _joint(self, batch):
    if "joint" in self.without:
      return {}
    outputs = {}
    for cluster in ("low", "high"):
      fields = [
        {m: getattr(batch.inputs[m], name) for m in self.modalities}
        for name in (cluster, f"has_{cluster}", f"mean_{cluster}")
      ]
      outputs[cluster], _ = Joint(
        modalities=self.modalities,
        num_labels=self.num_labels,
        width=self.width,
        fuser=self.fuser,
        unprojected=self.unprojected,
        dtype=self.dtype,
        name=cluster,
      )(*fields)
    return outputs

  def _presence(self, present):
    """present bool[B M] -> bool[B S]; what is no modality always exists."""
    order = self.modalities
    if "presence_order" in self.released:
      # Column i of the flag's order masks prediction i of the code's order.
      flag = self.flag_order or self.modalities
      made = [m for m in RELEASED_ORDER if m in self.modalities]
      order = tuple(made[flag.index(m)] for m in self.modalities)
    column = {m: present[:, i] for i, m in enumerate(order)}
    always = jnp.ones(present.shape[:1], bool)
    return jnp.stack([column.get(s, always) for s in self.sources], axis=1)


def init_from_stage1(params, stage1):
  """Starts MedPatch from the unimodal models (METHOD.md sections 4 and 6).

  The classifiers are stage 1's, and both projections of a modality are its
  encoder's.

  Args:
    params: of `MedPatch`.
    stage1: {modality: params of `Unimodal`}.

  Returns:
    a new tree.

  Raises:
    ValueError: a shape differs; names both.
  """
  params = dict(params)

  def put(old, new, name):
    shapes = [jax.tree.map(jnp.shape, dict(t)) for t in (old, new)]
    if shapes[0] != shapes[1]:
      raise ValueError(
        f"{name}: stage 1 has shapes {shapes[1]}, MedPatch takes {shapes[0]}."
      )
    return new

  for m, source in stage1.items():
    name = f"classifier_{m}"
    if name in params:
      params[name] = put(params[name], source["classifier"], name)
    for cluster in ("high", "low"):
      name = f"project_{m}"
      if name in params.get(cluster, {}):
        new = put(params[cluster][name], source["encoder"]["project"], name)
        params[cluster] = {**params[cluster], name: new}
  return params
