"""Raw batch -> every prediction: the whole forward pass as one function.

encode -> confidence -> calibrate -> patch (`medpatch.pools`) -> fusion, with
the parameters of all stages. Training computes the pools once and keeps them
(experiments/training/stages.py); a prediction goes through here.

Dims: B stays, M modalities, T tokens, C labels, S sources of the late module.
"""

import dataclasses

import jax
import jax.numpy as jnp

from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.encode import additive, cxr, ehr, embedding, notes
from medpatch_jax.medpatch import MedPatch
from medpatch_jax.unimodal import Unimodal

# Name of an encoder in `Architecture.encoders` -> its class, and what it calls
# the joint width.
ENCODERS = {
  "lstm": (ehr.LSTM, "width"),
  "transformer": (ehr.Transformer, "width"),
  "additive": (additive.Additive, "width"),
  "vit": (cxr.ViT, "joint_width"),
  "bert": (notes.Notes, "joint_width"),
  "embedding": (embedding.Embedding, "joint_width"),
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Everything that decides which function the parameters stand for.

  Attributes:
    kinds: modality -> series, image, text or embedding, in the order of
      `present`.
    labels: C names.
    width: E, the joint width.
    encoders: modality -> {"name": key of `ENCODERS`, its own sizes}.
    thresholds: modality -> of the high cluster.
    confidence: `kind` of `medpatch.pools`.
    base_rate: C log odds, of confidence "balanced"; else None.
    fusion: fields of `MedPatch` by name, beside those that follow from the
      others here; what is left out is at its default.
    released: names of METHOD.md.
    classes: exactly one label is true (softmax), not any of them (sigmoid).
    dtype: of the matrix products; parameters are float32 always.
    remat: of the encoders that have it, in training.
    classifier_norm: `norm` of the unimodal classifiers.
  """

  kinds: dict[str, str]
  labels: tuple[str, ...]
  width: int
  encoders: dict[str, dict]
  thresholds: dict[str, float]
  confidence: str = "confidence"
  base_rate: tuple[float, ...] | None = None
  fusion: dict = dataclasses.field(default_factory=dict)
  released: tuple[str, ...] = ()
  classes: bool = False
  dtype: str = "float32"
  remat: bool = False
  classifier_norm: bool = True

  def to_json(self) -> dict:
    """Every field, those of the fusion among them; `kinds` as pairs.

    The order of `kinds` counts.
    """
    fields = dataclasses.asdict(self)
    fusion = fields.pop("fusion")
    return fields | fusion | {"kinds": list(self.kinds.items())}

  @classmethod
  def from_json(cls, value: dict) -> "Architecture":
    """Undoes `to_json`; what an older version did not write is as it was."""
    fields = {
      k: tuple(v) if isinstance(v, list) else v for k, v in value.items()
    }
    own = {field.name for field in dataclasses.fields(cls)}
    fusion = {k: fields.pop(k) for k in set(fields) - own}
    made = cls(**fields | {"kinds": dict(value["kinds"])}, fusion=fusion)
    made.medpatch()  # Refuses fields that it does not have.
    return made

  @property
  def modalities(self) -> tuple[str, ...]:
    return tuple(self.kinds)

  @property
  def _dtype(self):
    return jnp.dtype(self.dtype)

  def encoder(self, m: str):
    """The encoder of one modality."""
    own = dict(self.encoders[m])
    made, joint = ENCODERS[own.pop("name")]
    own |= {joint: self.width, "released": self.released, "dtype": self._dtype}
    if hasattr(made, "remat"):
      own["remat"] = self.remat
    return made(**own)

  def unimodal(self, m: str) -> Unimodal:
    """Stage 1's model: the encoder with its classifier."""
    return Unimodal(
      encoder=self.encoder(m),
      num_labels=len(self.labels),
      modality=m,
      modalities=self.modalities,
      dtype=self._dtype,
      norm=self.classifier_norm,
    )

  def head(self) -> Confidence:
    """Stage 2's model, the same for every modality."""
    return Confidence(num_labels=len(self.labels), dtype=self._dtype)

  def medpatch(self) -> MedPatch:
    """Stage 3's model."""
    return MedPatch(
      modalities=self.modalities,
      num_labels=len(self.labels),
      width=self.width,
      unprojected=tuple(m for m, k in self.kinds.items() if k == "series"),
      released=self.released,
      dtype=self._dtype,
      classifier_norm=self.classifier_norm,
      **self.fusion,
    )

  def probability(self, logits):
    """Of each label, f32[B C]."""
    return jax.nn.softmax(logits) if self.classes else jax.nn.sigmoid(logits)

  def pool(self, m: str, encoded, sure, parts) -> schema.Pool:
    """One modality's tokens -> its pools.

    Args:
      m: modality.
      encoded: what is pooled, `schema.Encoded`.
      sure: f32[B T D], the tokens that confidence is read from: those of the
        frozen encoder, the same unless a copy was trained on.
      parts: {"confidence": of stage 2, "temperature": {position, label}}.
    """
    return medpatch.pools(
      encoded,
      self.head().apply({"params": parts["confidence"]}, sure),
      calibrate.Temperature(**parts["temperature"]),
      threshold=self.thresholds[m],
      kind=self.confidence,
      modality=m,
      base_rate=self.base_rate,
      released=self.released,
    )

  def apply(self, params, batch: schema.Batch):
    """Predicts from raw input.

    Args:
      params: {"encoder": {m: of `unimodal`}, "confidence": {m: of `head`},
        "temperature": {m: {position, label}}, "medpatch": of `medpatch`}, and
        "tuned": {m: of `unimodal`} where stage 3 trained a copy of the
        encoders for the features.
      batch: its label and weight are not read.

    Returns:
      (outputs {head or source: logits f32[B C]}, out {"late_weights" f32[B S
      C], "confidence" {m: f32[B T C] in [0.5, 1] after calibration}, "mask"
      {m: bool[B T], real tokens}}).
    """
    inputs, out = {}, {"confidence": {}, "mask": {}}
    for m in self.modalities:
      parts = {k: params[k][m] for k in ("confidence", "temperature")}
      _, own = self.unimodal(m).apply({"params": params["encoder"][m]}, batch)
      sure = own["encoded"]
      encoded = sure
      if "tuned" in params:
        tuned = {"params": params["tuned"][m]}
        encoded = self.unimodal(m).apply(tuned, batch)[1]["encoded"]
      inputs[m] = self.pool(m, encoded, sure.tokens, parts)
      logits = medpatch.calibrated(
        self.head().apply({"params": parts["confidence"]}, sure.tokens),
        calibrate.Temperature(**parts["temperature"]),
        m,
        self.released,
      )
      out["confidence"][m] = calibrate.confidence(logits)
      out["mask"][m] = sure.mask
    pools = schema.Pools(inputs, batch.present, batch.label, batch.weight)
    outputs, last = self.medpatch().apply({"params": params["medpatch"]}, pools)
    return outputs, out | {"late_weights": last["late_weights"]}

  def init(self, key, batch: schema.Batch) -> dict:
    """Random parameters of every stage, temperatures 1; for tests."""
    keys = jax.random.split(key, 2 * len(self.kinds) + 1)
    params = {"encoder": {}, "confidence": {}, "temperature": {}}
    inputs = {}
    for i, m in enumerate(self.modalities):
      (_, out), own = self.unimodal(m).init_with_output(keys[2 * i], batch)
      encoded = out["encoded"]
      head = self.head().init(keys[2 * i + 1], encoded.tokens)
      params["encoder"][m] = own["params"]
      params["confidence"][m] = head["params"]
      one = vars(calibrate.Temperature.ones(len(self.labels)))
      params["temperature"][m] = one
      parts = {"confidence": head["params"], "temperature": one}
      inputs[m] = self.pool(m, encoded, encoded.tokens, parts)
    pools = schema.Pools(inputs, batch.present, batch.label, batch.weight)
    last = self.medpatch().init(keys[-1], pools)
    return params | {"medpatch": last["params"]}
