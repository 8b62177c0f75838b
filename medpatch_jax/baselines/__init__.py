"""Models that MedPatch is held against, all with its signature.

`model(batch, *, train) -> ({name: logits f32[B C]}, out)` over encoders given
as submodules; METHOD.md section 9. Unimodal models are stage 1's.
"""

from collections.abc import Mapping

from flax import linen as nn

from medpatch_jax.baselines.daft import DAFT
from medpatch_jax.baselines.drfuse import DrFuse
from medpatch_jax.baselines.early import Early
from medpatch_jax.baselines.encoding import Ready
from medpatch_jax.baselines.ensemble import Ensemble
from medpatch_jax.baselines.healnet import HealNet
from medpatch_jax.baselines.joint import Joint
from medpatch_jax.baselines.late import LateMean
from medpatch_jax.baselines.medfuse import MedFuse
from medpatch_jax.baselines.metra import MeTra
from medpatch_jax.baselines.mmtm import MMTM

__all__ = [
  "BASELINES",
  "OF_TOKENS",
  "ONLY_OF",
  "Ensemble",
  "Ready",
  "build",
  "pretrained",
]

# Name of the model, which is also the name of the head it returns.
BASELINES: dict[str, type[nn.Module]] = {
  "early": Early,
  "joint": Joint,
  "late": LateMean,
  "medfuse": MedFuse,
  "mmtm": MMTM,
  "daft": DAFT,
  "metra": MeTra,
  "healnet": HealNet,
  "drfuse": DrFuse,
}
# Those that read tokens; the others need the summaries alone.
OF_TOKENS = ("mmtm", "daft", "metra", "healnet")
# Those that are defined for these modalities only.
ONLY_OF = {"mmtm": ("ehr", "cxr"), "daft": ("ehr", "cxr")}


def build(name: str, **fields) -> nn.Module:
  """The baseline of that name; `fields` are its attributes.

  Raises:
    ValueError: the name is unknown.
  """
  if name not in BASELINES:
    raise ValueError(f"model {name!r}: wanted one of {', '.join(BASELINES)}.")
  return BASELINES[name](**fields)


def pretrained(params: dict, unimodal: Mapping[str, dict]) -> dict:
  """Puts stage 1's parameters where a baseline has a place for them.

  Encoders go to `encoders_<m>`, a classifier per modality (late) to
  `classifier_<m>`, a projection of tokens (metra) to `project_<m>`.

  Args:
    params: of a baseline, just initialised.
    unimodal: modality -> parameters of `unimodal.Unimodal`.

  Returns:
    A copy of `params`.

  Raises:
    ValueError: the baseline has encoders, but not of one of these modalities.
  """
  params = dict(params)
  encodes = any(name.startswith("encoders_") for name in params)
  for m, given in unimodal.items():
    if encodes and f"encoders_{m}" not in params:
      raise ValueError(
        f"no encoder of {m!r} among {sorted(params)}: stage 1 has one too many."
      )
    if encodes:
      params[f"encoders_{m}"] = given["encoder"]
    if f"classifier_{m}" in params:
      params[f"classifier_{m}"] = given["classifier"]
    if f"project_{m}" in params:
      params[f"project_{m}"] = given["encoder"]["project"]
  return params
