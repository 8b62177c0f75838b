"""What computed a run, for whoever looks at it later: machine.json."""

import importlib.metadata
import pathlib
import platform
import resource
import sys

import jax

from medpatch_jax import files

NAME = "machine.json"
PACKAGES = ("medpatch-jax", "jax", "jaxlib", "flax", "optax", "numpy")
MOST = 20  # Processes that are remembered, the last ones.


def describe(seconds: float) -> dict:
  """This process: command, versions, devices, time and memory, JSON-ready.

  Args:
    seconds: that it took.
  """
  devices = jax.devices()
  found = {
    "command": " ".join([pathlib.Path(sys.argv[0]).stem, *sys.argv[1:]]),
    "seconds": round(seconds, 1),
    "device": f"{len(devices)} x {devices[0].device_kind}"
    f" ({devices[0].platform})",
    "machine": f"{platform.system()} {platform.machine()}",
    "memory_gib": round(_peak() / 2**30, 2),
    "python": platform.python_version(),
  }
  stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
  if stats and "peak_bytes_in_use" in stats:
    peak = stats["peak_bytes_in_use"] / 2**30
    found["device_memory_gib"] = round(peak, 2)
  for package in PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue  # A clone need not be installed.
  return found


def record(workdir, seconds: float) -> None:
  """Adds this process to those that trained in a workdir."""
  path = pathlib.Path(workdir) / NAME
  before = read(workdir)
  files.write_json(path, {"processes": [*before, describe(seconds)][-MOST:]})


def read(workdir) -> list[dict]:
  """The processes that trained in a workdir, none where it is not known."""
  path = pathlib.Path(workdir) / NAME
  try:
    kind = {"processes": [dict]}
    return files.read_json(path, kind, "delete it.")["processes"]
  except (OSError, files.Damaged):
    return []


def _peak() -> int:
  """Most bytes of this process so far; Linux counts in kilobytes."""
  unit = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
