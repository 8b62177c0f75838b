"""Compares our modules with golden numbers.

  python -m tests.golden [--as_released=NAME,...|all] FILE.npz ...

Prints the largest difference of outputs, losses and gradients of each file,
where the difference of a tensor is max|ours - theirs| / max(max|theirs|,
0.01). Exits 1 if one is above 1e-5, or a file is not understood.
"""

import argparse
import importlib.util
import json
import pathlib
import sys

import numpy as np

from medpatch_jax.schema import RELEASED
from tests.golden_file import NotUnderstood, difference

LIMIT = 1e-5
GROUPS = {"out": "outputs", "loss": "losses", "grad": "gradients"}


def runners() -> dict:
  """{kind: runner(arrays, meta, released) -> {key: (ours, theirs)}}.

  `arrays` is the file as it is and `meta` its JSON; a key is out/NAME,
  loss/NAME or grad/NAME. Ours is None for a gradient of a parameter that the
  loss does not depend on.
  """
  from tests import golden_method

  found = dict(golden_method.RUNNERS)
  if importlib.util.find_spec("tests.golden_baselines"):
    from tests import golden_baselines

    found = golden_baselines.RUNNERS | found
  return found


def read(path) -> tuple[dict[str, np.ndarray], dict, str]:
  """A golden file -> (arrays, meta, kind).

  Raises:
    NotUnderstood: no such file, or without `meta`.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      arrays = {k: archive[k] for k in archive.files}
    meta = json.loads(str(arrays.pop("meta")))
  except (OSError, KeyError, ValueError) as e:
    raise NotUnderstood(f"no golden file: {e}") from None
  # Those computed with our defaults name no module of the released code.
  kind = meta.get("module")
  if kind is None and "fusion_type" in meta.get("args", {}):
    kind = "default"
  kind = kind or pathlib.Path(path).name.split("__")[0]
  return arrays, {**meta, "kind": kind}, kind


def compare(path, released=()) -> dict[str, tuple[float, str]]:
  """Runs one file.

  Args:
    path: of the .npz.
    released: names of METHOD.md.

  Returns:
    {group: (largest difference, the tensor it is of)}.

  Raises:
    NotUnderstood: an unknown kind, parameter or tensor.
  """
  arrays, meta, kind = read(path)
  runner = runners().get(kind)
  if runner is None:
    raise NotUnderstood(f"unknown kind {kind!r}")
  try:
    pairs = runner(arrays, meta, tuple(released))
  except NotUnderstood:
    raise
  except Exception as e:
    raise NotUnderstood(f"{type(e).__name__}: {e}") from e
  wanted = {k for k in arrays if k.split("/")[0] in GROUPS}
  if wanted - pairs.keys():
    raise NotUnderstood(
      f"not computed: {', '.join(sorted(wanted - pairs.keys()))}"
    )
  worst = {}
  for key, (ours, theirs) in pairs.items():
    title = GROUPS[key.split("/")[0]]
    gap = difference(ours, theirs)
    gap = gap if gap == gap else float("inf")
    worst[title] = max(worst.get(title, (-1.0, "")), (gap, key))
  if not worst:
    raise NotUnderstood("nothing to compare")
  return worst


def names(text: str) -> tuple[str, ...]:
  """ "a,b" or "all" -> names of METHOD.md."""
  chosen = tuple(n for n in text.split(",") if n)
  if chosen == ("all",):
    return RELEASED
  unknown = sorted(set(chosen) - set(RELEASED))
  if unknown:
    raise argparse.ArgumentTypeError(
      f"unknown {', '.join(unknown)}; wanted all or some of"
      f" {', '.join(RELEASED)}"
    )
  return chosen


def main(argv=None) -> int:
  parser = argparse.ArgumentParser(
    prog="python -m tests.golden", description=__doc__.split("\n")[0]
  )
  parser.add_argument("--as_released", type=names, default=())
  parser.add_argument("files", nargs="+", metavar="FILE.npz")
  options = parser.parse_args(argv)
  failed = 0
  for path in options.files:
    name = pathlib.Path(path).name
    try:
      worst = compare(path, options.as_released)
    except NotUnderstood as e:
      failed += 1
      print(f"{name}: not understood: {e}", flush=True)
      continue
    good = all(gap <= LIMIT for gap, _ in worst.values())
    failed += not good
    parts = [f"{title} {gap:.1e}" for title, (gap, _) in worst.items()]
    line = f"{name}: {', '.join(parts)}"
    if not good:
      gap, tensor = max(worst.values())
      line += f"  ABOVE {LIMIT:g} ({tensor})"
    print(line, flush=True)
  print(
    f"{len(options.files) - failed} of {len(options.files)} within {LIMIT:g}"
  )
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(main())
