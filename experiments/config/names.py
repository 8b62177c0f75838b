"""Names that flags take."""

from medpatch_jax import baselines

STAGES = ("unimodal", "confidence", "calibrate", "fuse")
CALIBRATIONS = ("none", "scalar", "label", "position")
CONFIDENCES = ("confidence", "entropy", "balanced", "random")
EHR = ("lstm", "transformer", "additive")
HEADS = ("late", "combined", "reduced")
LOSS_WEIGHTS = ("learned", "uniform", "uncertainty")
DTYPES = ("float32", "bfloat16")

# HEALNet without encoders of stage 1, on hours, pixels and token ids.
RAW = "healnet_raw"
MODELS = ("medpatch", "unimodal", *baselines.BASELINES, RAW)
