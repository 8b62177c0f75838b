"""An exported model: raw stays -> predictions.

Dims: B stays, T tokens, C labels.
"""

import dataclasses
import functools

import flax
import jax
import numpy as np

from medpatch_jax.export import artefact, programs
from medpatch_jax.input import channels, examples, series, stay, tokenise
from medpatch_jax.pipeline import Architecture
from medpatch_jax.predict import reliability

# Rows of a batch: padded up to one of these, so that few programs are compiled.
SIZES = (1, 8, 64)


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What the model says of one stay.

  Attributes:
    labels: C names.
    probability: f64[C], by the head that was chosen on validation.
    calibration_error: f64[C 2]: how far such a probability was off.
      Among the test stays whose probability fell into the same bin, the share
      that had the label less the mean probability lay between these two, with
      95 % confidence (Wilson); NaN where the test split was too small to tell.
    logits: source or head -> f32[C]; of the modalities only those present.
    late_weights: source -> f32[C], its share in the late head; 1 over sources.
    confidence: modality present -> f32[T C] in [0.5, 1], of each token: hours
      of a series; the class token, then patches row by row, of a film;
      positions of a window (averaged over windows) of a text.
    warnings: sentences on what was done to the input.
  """

  labels: tuple[str, ...]
  probability: np.ndarray
  calibration_error: np.ndarray
  logits: dict[str, np.ndarray]
  late_weights: dict[str, np.ndarray]
  confidence: dict[str, np.ndarray]
  warnings: tuple[str, ...]


class Model:
  """A trained MedPatch, from an exported folder."""

  def __init__(self, folder):
    """Reads and verifies the folder.

    Raises:
      ValueError: no exported folder, or one that was changed or damaged.
    """
    self.folder = folder = artefact.verify(folder)
    config = artefact.read_config(folder)
    self.config = config
    try:
      self.architecture = Architecture.from_json(config["architecture"])
      self.labels = self.architecture.labels
      self.preparation = _preparation(config, self.architecture, folder)
      bins = reliability.Bins.of(config["reliability"], len(self.labels))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
      raise ValueError(
        f"{folder / artefact.CONFIG}: a field is missing or of another kind"
        f" ({error!r}); export the run again."
      ) from None
    self.params, self._bins = artefact.read_params(folder), bins
    self.params = jax.device_put(self.params)

  @property
  def modalities(self) -> tuple[str, ...]:
    return self.architecture.modalities

  def predict(self, stay: dict) -> Prediction:
    """Predicts one stay; see `predict_batch`."""
    return self.predict_batch([stay])[0]

  def predict_batch(self, stays) -> list[Prediction]:
    """Predicts stays from raw input.

    Args:
      stays: dicts of modality -> raw input or None, and "hours", as
        `stay.Preparation.example` takes them.

    Raises:
      ValueError: a stay without any input, or one that cannot be read; its
        number is named where there are several.
    """
    prepared = []
    for number, raw in enumerate(stays, 1):
      try:
        prepared.append(self.preparation.example(raw))
      except ValueError as error:
        where = f"stay {number}: " if len(stays) > 1 else ""
        raise ValueError(f"{where}{error}") from None
    return self.predict_prepared(prepared)

  def predict_prepared(self, prepared) -> list[Prediction]:
    """As `predict_batch`, of what `preparation.example` returned."""
    found = []
    for lo in range(0, len(prepared), SIZES[-1]):
      part = prepared[lo : lo + SIZES[-1]]
      results = self._run([example for example, _ in part])
      found += [
        self._prediction(results, i, *one) for i, one in enumerate(part)
      ]
    return found

  def batch(self, prepared, size: int):
    """Examples of `preparation.example` -> `schema.Batch` of `size` rows."""
    none = np.zeros(len(self.labels), np.float32)
    return examples.collate(
      [example | {"label": none} for example in prepared],
      size,
      self.architecture.kinds,
      len(self.labels),
      self.preparation.shapes,
      self.modalities,
    )

  def _run(self, prepared) -> dict[str, np.ndarray]:
    size = examples.bucket(len(prepared), SIZES)
    inputs = programs.inputs_of(self.batch(prepared, size))
    try:
      return jax.device_get(self._compiled(self.params, inputs))
    except (flax.errors.FlaxError, ArithmeticError, TypeError) as error:
      raise ValueError(
        f"{self.folder / artefact.CONFIG}: does not fit {artefact.PARAMS}"
        f" ({type(error).__name__}); export the run again."
      ) from error

  @functools.cached_property
  def _compiled(self):
    made = programs.function(self.architecture, self.config["head"])
    return jax.jit(made)

  def _prediction(self, results, i, example, warnings) -> Prediction:
    logits = {
      name.removeprefix("logits."): values[i]
      for name, values in results.items()
      if name.startswith("logits.")
    }
    present = dict(zip(self.modalities, example["present"]))
    weights = results["late_weights"][i]
    sources = self.architecture.medpatch().sources
    p = results["probability"][i].astype(np.float64)
    return Prediction(
      labels=self.labels,
      probability=p,
      calibration_error=self._bins.error(p),
      logits={n: x for n, x in logits.items() if present.get(n, True)},
      late_weights={
        n: w for n, w in zip(sources, weights) if present.get(n, True)
      },
      confidence={
        m: results[f"confidence.{m}"][i][results[f"mask.{m}"][i]]
        for m, here in present.items()
        if here
      },
      warnings=tuple(warnings),
    )


def _late(config) -> tuple[str, ...]:
  """Modalities of MIMIC's that are read from beyond the window.

  A discharge note is written after the stay; reports were those of the
  admission if the dataset's rules said so.
  """
  rules = config["series"]["rules"] or {}
  if not rules or config["task"] != "phenotyping":
    return ()
  admission = rules.get("radiology_window") == "admission"
  return ("dn", "rr") if admission else ("dn",)


def _preparation(config, architecture, folder) -> stay.Preparation:
  """From an exported folder's config.json and vocabulary."""
  own = config["series"]
  shapes = dict(config["shapes"])
  if isinstance(shapes["columns"], int):  # Models of before had one series.
    names = [m for m, k in architecture.kinds.items() if k == "series"]
    shapes["columns"] = dict.fromkeys(names, shapes["columns"])
  tokeniser = None
  if "text" in architecture.kinds.values():
    tokeniser = tokenise.Tokeniser.load((folder / artefact.TOKENIZER).parent)
  return stay.Preparation(
    kinds=architecture.kinds,
    shapes=examples.Shapes(
      **shapes | {"hour_buckets": tuple(shapes["hour_buckets"])}
    ),
    recipe=series.Recipe.from_json(own),
    channels=channels.Channels.from_json(own),
    tokeniser=tokeniser,
    late=_late(config),
    embedded={m: e["model"] for m, e in config.get("embeddings", {}).items()},
  )
