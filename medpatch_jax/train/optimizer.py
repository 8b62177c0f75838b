"""Adam, and the plateau rule that halves its learning rate (METHOD.md 2)."""

import optax

SCHEDULES = ("plateau", "linear")


def schedule(kind: str, learning_rate: float, steps: int):
  """The learning rate as a function of the update.

  Args:
    kind: "plateau" is constant (the rule below halves it), "linear" falls to
      0 at the last of `steps`.
    learning_rate: at the start.
    steps: updates of the longest possible run.

  Raises:
    ValueError: an unknown kind.
  """
  if kind == "plateau":
    return learning_rate
  if kind == "linear":
    return optax.linear_schedule(learning_rate, 0.0, steps)
  raise ValueError(f"--schedule={kind}: wanted one of {', '.join(SCHEDULES)}.")


def adam(
  learning_rate, b2: float = 0.999, clip: float | None = None
) -> optax.GradientTransformation:
  """PyTorch's Adam: b1 0.9, eps 1e-8, gradients clipped by norm if asked.

  Args:
    learning_rate: a number, or what `schedule` returns.
    b2: decay of the second moment (the released code passes 0.9).
    clip: largest global norm of the gradient, or None.
  """
  rule = optax.adam(learning_rate, b1=0.9, b2=b2, eps=1e-8)
  if clip is None:
    return rule
  return optax.chain(optax.clip_by_global_norm(clip), rule)


def plateau() -> optax.GradientTransformationExtraArgs:
  """Halves the scale after more than 10 epochs without a better loss.

  PyTorch's ReduceLROnPlateau(factor 0.5, patience 10, threshold 1e-4
  relative); its patience 10 is optax's 11. Fed once an epoch by the loop.
  """
  return optax.contrib.reduce_on_plateau(
    factor=0.5, patience=11, rtol=1e-4, atol=0.0
  )
