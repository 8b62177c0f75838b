"""Orbax checkpoints: the latest few and the best, restored strictly."""

import json
import pathlib
import time
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from medpatch_jax import files
from medpatch_jax.train.log import logger

KINDS = ("latest", "best")


class Checkpoints:
  """Saves of one stage under `folder`/latest and `folder`/best.

  Each save holds `state` (parameters, optimizer, step, key) and `progress`, a
  JSON dict of what the loop must remember, with a checksum of the state. Orbax
  writes a save under another name and renames it, so one that was cut short is
  never taken for whole. Process 0 alone writes and reads.
  """

  def __init__(self, folder, parallel, keep: int = 2):
    """Opens or creates the folder; `keep` latest saves remain."""
    self.folder = pathlib.Path(folder).absolute()
    self._parallel = parallel
    self._progress: dict[tuple, dict] = {}
    self._managers = {}
    if parallel.first:
      kept = {"latest": keep, "best": 1}
      self._managers = {k: self._open(k, kept[k]) for k in KINDS}

  def _open(self, kind, keep):
    folder = self.folder / kind
    folder.mkdir(parents=True, exist_ok=True)
    alone = {}
    if self._parallel.processes > 1:
      alone["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
        primary_host=0, active_processes={0}
      )
    options = ocp.CheckpointManagerOptions(
      max_to_keep=keep, enable_async_checkpointing=True, create=False, **alone
    )
    # Named, so that what a save holds can be asked before it is read.
    handlers = {
      "state": ocp.StandardCheckpointHandler(**alone),
      "progress": ocp.JsonCheckpointHandler(**alone),
    }
    return ocp.CheckpointManager(
      folder, options=options, item_handlers=handlers
    )

  def save(self, kind: str, state, progress: dict) -> None:
    """Writes `state` in the background as `kind`, "latest" or "best".

    Raises:
      DiskFull: this save or the one before it did not fit.
    """
    if not self._parallel.first:
      return
    step, manager = int(state.step), self._managers[kind]
    with self._room():
      if kind == "latest":
        # Its progress may name that save as the best.
        self._managers["best"].wait_until_finished()
      if step in manager.all_steps():
        if self._progress.get((kind, step), progress) == progress:
          return
        manager.delete(step)
      self._progress[kind, step] = progress
      manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          progress=ocp.args.JsonSave(progress | {"checksum": checksum(state)}),
        ),
      )

  def restore(self, kind: str, like):
    """The newest whole save of `kind`, or None where there is none.

    One that is damaged is put aside, with a message.

    Args:
      kind: "latest" or "best".
      like: a state of the wanted structure, shapes and dtypes.

    Raises:
      ValueError: the save has another structure or another shape.
    """
    found = None
    if self._parallel.first:
      found = self._newest(kind, like)
    progress = self._parallel.same_json(found and found[1])
    if progress is None:
      return None
    return self._parallel.same(found[0] if found else like), progress

  def _newest(self, kind, like):
    manager = self._managers[kind]
    for step in sorted(manager.all_steps(), reverse=True):
      path = self.folder / kind / str(step)
      try:
        _try_arrays(path / "state")
      except Exception as error:  # Whatever a broken file makes it raise.
        self._put_aside(kind, step, error)
        continue
      self._check_fit(manager, step, path, like)
      try:
        restored = manager.restore(
          step,
          args=ocp.args.Composite(
            state=ocp.args.StandardRestore(_abstract(like)),
            progress=ocp.args.JsonRestore(),
          ),
        )
        state = jax.tree.map(np.asarray, restored.state)
        progress = dict(restored.progress)
        if progress.pop("checksum") != checksum(state):
          raise ValueError("its checksum is another")
      except Exception as error:
        self._put_aside(kind, step, error)
        continue
      self._progress[kind, step] = progress
      return state, progress
    return None

  def _put_aside(self, kind: str, step: int, error: Exception) -> None:
    """Moves a damaged save away, with a message."""
    path = self.folder / kind / str(step)
    aside = self.folder / "damaged" / f"{kind}-{step}-{time.time_ns()}"
    logger.warning(
      "%s: the save is damaged (%s) and put aside in %s; the one before it"
      " is used, if there is one",
      path,
      (str(error) or type(error).__name__).splitlines()[0][:160],
      aside,
    )
    aside.parent.mkdir(exist_ok=True)
    path.rename(aside)
    self._managers[kind].reload()

  def _check_fit(self, manager, step, path, like) -> None:
    """Refuses a save of another model; one it cannot read is not its case."""
    try:
      saved = _shapes(manager.item_metadata(step).state.tree)
    except Exception:  # Damaged: `_newest` finds out.
      return
    wanted = _shapes(_abstract(like))
    for name in sorted(set(saved) | set(wanted)):
      if saved.get(name) != wanted.get(name):
        raise ValueError(
          f"{path}: {name} has shape {saved.get(name, 'none')}, the model wants"
          f" {wanted.get(name, 'none')}; use another --workdir, or the flags it"
          " was trained with."
        )

  def drop_after(self, kind: str, step: int) -> None:
    """Deletes saves later than `step`: a resumed run makes them again."""
    if not self._parallel.first:
      return
    for later in self._managers[kind].all_steps():
      if later > step:
        self._managers[kind].delete(later)

  def wait(self) -> None:
    """Returns once every save is on disk.

    Raises:
      DiskFull: one did not fit.
    """
    with self._room():
      for manager in self._managers.values():
        manager.wait_until_finished()

  def close(self) -> None:
    self.wait()
    for manager in self._managers.values():
      manager.close()

  def _room(self):
    return files.room(self.folder)


def _try_arrays(folder: pathlib.Path) -> None:
  """Reads the arrays of a save one by one, or raises what the first one does.

  Orbax reads all at once; where one is damaged, it leaves the readers of the
  others to an event loop that it has closed, which can end the process.
  """
  files = {"driver": "ocdbt", "base": f"file://{folder}/"}
  for key in tensorstore.KvStore.open(files).result().list().result():
    name, found, _ = key.decode().partition("/.zarray")
    if found:
      array = {"driver": "zarr", "kvstore": files | {"path": name}}
      tensorstore.open(array).result().read().result()


def checksum(tree) -> int:
  """CRC-32 over the bytes of every leaf, in order."""
  total = 0
  for leaf in jax.tree.leaves(tree):
    leaf = np.ascontiguousarray(leaf)
    total = zlib.crc32(leaf.view(np.uint8).reshape(-1), total)
  return total


def _abstract(tree):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), tree
  )


def _shapes(tree) -> dict[str, tuple]:
  """Dotted path of each leaf -> its shape."""
  return {
    ".".join(
      str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k))))
      for k in path
    ): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def difference(old: dict, new: dict, prefix: str = "") -> list[str]:
  """Lines `field: old -> new` where two configurations differ."""
  lines = []
  for key in sorted(set(old) | set(new)):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      lines += difference(a, b, f"{prefix}{key}.")
    elif a != b:
      lines.append(f"{prefix}{key}: {a} -> {b}")
  return lines


def claim(folder, config: dict) -> None:
  """Writes `config` into the folder, or refuses one that holds another.

  Raises:
    ValueError: names each field that differs.
  """
  path = pathlib.Path(folder) / "config.json"
  config = json.loads(json.dumps(config))
  if path.exists():
    redo = (
      "delete it and give the command of the training again, with its flags:"
      " what is trained there is compared with them"
    )
    changed = difference(files.read_json(path, dict, redo + "."), config)
    if changed:
      raise ValueError(
        f"{path}: made with another configuration ({'; '.join(changed)});"
        " pass its flags, or another --workdir."
      )
    return
  files.write_json(path, config)
