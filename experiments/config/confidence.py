"""How tokens are grouped by the calibrated confidence of their encoder."""

import dataclasses

from experiments.config.flag import Affects, choice
from experiments.config.names import CALIBRATIONS, CONFIDENCES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confidence:
  """Choices of confidence, temperatures and clusters."""

  confidence: str = choice(
    "confidence",
    str,
    Affects.POOLS,
    "What tokens are grouped by; balanced is confidence beyond the label's base"
    " rate, as it were if half of the stays had it; random deals a stay's"
    " confidences out to its tokens anew. --threshold=0.5 puts all into one"
    " group.",
    choices=CONFIDENCES,
    paper="confidence; entropy in C.5",
    released="both",
    of_medpatch=True,
  )
  threshold: dict[str, float] = choice(
    None,
    list,
    Affects.POOLS,
    "Threshold of the high cluster: one number, or modality=number pairs.",
    values="0.5 to 1 (entropy: 0 to 1 bits), one or per modality",
    unset="0.75, or 0.8113 bits for entropy",
    paper="0.75",
    released="0.75 (entropy in nats)",
    by_part=True,
    of_medpatch=True,
  )
  calibration: str = choice(
    "position",
    str,
    Affects.TEMPERATURE,
    "One temperature per modality (scalar), per label, per token position"
    " and label, or none.",
    choices=CALIBRATIONS,
    paper="position",
    released="position",
    of_medpatch=True,
    of_authors="position",
  )
  calibration_steps: int = choice(
    700,
    int,
    Affects.TEMPERATURE,
    "Least updates of stage 2b (at least 5 epochs).",
    low=0,
    paper="5 epochs",
    released="5 epochs",
  )
