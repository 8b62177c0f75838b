"""Parameters that learn and parameters that do not, apart and together."""

from flax import traverse_util


def split(params, frozen) -> tuple[dict, dict]:
  """Divides a tree of parameters.

  Args:
    params: nested dict.
    frozen: (path tuple of str) -> bool.

  Returns:
    (those that learn, those that do not), nested dicts without empty nodes.
  """
  flat = traverse_util.flatten_dict(params)
  learn = {k: v for k, v in flat.items() if not frozen(k)}
  still = {k: v for k, v in flat.items() if frozen(k)}
  return traverse_util.unflatten_dict(learn), traverse_util.unflatten_dict(
    still
  )


def join(learn, still) -> dict:
  """Undoes `split`."""
  flat = traverse_util.flatten_dict(learn)
  return traverse_util.unflatten_dict(flat | traverse_util.flatten_dict(still))
