"""Compiled programs, kept in $JAX_COMPILATION_CACHE_DIR for the next process.

JAX writes an entry of its cache in place: another process may read half of it,
and a killed one leaves it so. Here each process has JAX's cache to itself, in a
temporary folder (process-*) of links to complete entries; what it compiles is
handed in under a new name, whole and with its CRC-32, as it ends.
"""

import contextlib
import logging
import os
import pathlib
import shutil
import stat
import tempfile

import jax
from jax.experimental.compilation_cache import compilation_cache

from medpatch_jax import files

_ENTRY = "-cache"  # JAX's suffix.
SETTINGS = {
  "jax_persistent_cache_min_compile_time_secs": 0.1,
  "jax_persistent_cache_min_entry_size_bytes": -1,
  # The path of a GPU's autotuning cache would be part of each entry's key.
  "jax_persistent_cache_enable_xla_caches": "none",
}


@contextlib.contextmanager
def kept():
  """Inside the `with`, programs are read from $JAX_COMPILATION_CACHE_DIR.

  Those that were compiled are added as it ends, also by an error. Without the
  variable nothing happens.

  Yields:
    a function that adds, and takes what others have added, at once.

  Raises:
    ValueError: others may write to the folder: they could have it run anything.
  """
  name = os.environ.get("JAX_COMPILATION_CACHE_DIR")
  if not name:
    yield lambda: None
    return
  folder = pathlib.Path(name)
  with files.private():
    folder.mkdir(parents=True, exist_ok=True)
  found = folder.stat()
  if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
    raise ValueError(
      f"JAX_COMPILATION_CACHE_DIR={folder}: programs in it are run, but others"
      " than you may write there. Name a folder of your own (chmod 700)."
    )
  with tempfile.TemporaryDirectory(prefix="process-", dir=folder) as own:
    own = pathlib.Path(own)
    settings = SETTINGS | {"jax_compilation_cache_dir": str(own)}
    before = {name: getattr(jax.config, name) for name in settings}
    try:
      _use(settings)
      _exchange(folder, own)
      yield lambda: _exchange(folder, own)
    finally:
      _exchange(folder, own)
      _use(before)


def _use(settings) -> None:
  for name, value in settings.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()  # It would stay in the folder before.


def _exchange(folder, own) -> None:
  """Adds a process's own entries to the folder and links the folder's."""
  log = logging.getLogger("medpatch_jax")
  there = {p.stem: p for p in folder.glob(f"*{_ENTRY}.{'[0-9a-f]' * 8}")}
  try:
    for entry in own.glob(f"*{_ENTRY}"):
      if entry.name not in there:
        # A process that dies here leaves a name that none reads.
        part = folder / f"{own.name}-{entry.name}"
        with files.private():
          shutil.copyfile(entry, part)
        os.replace(part, folder / f"{entry.name}.{files.crc(part):08x}")
    for name, path in there.items():
      if not (own / name).exists():
        if f".{files.crc(path):08x}" == path.suffix:
          (own / name).symlink_to(path.resolve())
        else:
          log.warning("%s: is damaged; its program is compiled anew", path)
          path.unlink()
  except OSError as error:
    log.warning("compiled programs are not all kept: %s", error)
