"""What computed a run: versions, device, memory."""

import importlib.metadata
import pathlib
import platform
import resource
import sys

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "matplotlib")


def rows(workdir: pathlib.Path) -> list[tuple[str, str]]:
  """(name, value) of the process that writes the report."""
  device = jax.devices()[0]
  found = [("workdir", str(workdir))]
  found += [("Python", platform.python_version())]
  found += [(name, importlib.metadata.version(name)) for name in PACKAGES]
  kind = f"{len(jax.devices())} x {device.device_kind} ({device.platform})"
  found.append(("device of this report", kind))
  found.append(("machine", f"{platform.system()} {platform.machine()}"))
  # Kilobytes on Linux, bytes on macOS.
  unit = 1 if sys.platform == "darwin" else 1024
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
  found.append(("most memory of this process", f"{peak / 2**30:.2f} GiB"))
  stats = device.memory_stats() if device.platform != "cpu" else None
  if stats and "peak_bytes_in_use" in stats:
    most = f"{stats['peak_bytes_in_use'] / 2**30:.2f} GiB"
    found.append(("most memory of the device", most))
  return found
