"""Orbax checkpoints: the latest few and the best, restored strictly."""

import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp


class Checkpoints:
  """Saves of one stage under `folder`/latest and `folder`/best.

  Each save holds `state` (parameters, optimizer, step, key) and `progress`, a
  JSON dict of what the loop must remember. Orbax writes a save under another
  name and renames it, so one that was cut short is never taken for whole.
  """

  def __init__(self, folder, keep: int = 2):
    """Opens or creates the folder; `keep` latest saves remain."""
    self.folder = pathlib.Path(folder).absolute()
    self._managers = {
      name: ocp.CheckpointManager(
        self.folder / name,
        options=ocp.CheckpointManagerOptions(
          max_to_keep=kept, enable_async_checkpointing=True
        ),
        item_names=("state", "progress"),
      )
      for name, kept in (("latest", keep), ("best", 1))
    }

  def save(self, kind: str, state, progress: dict) -> None:
    """Writes `state` in the background as `kind`, "latest" or "best"."""
    step = int(state.step)
    manager = self._managers[kind]
    if step in manager.all_steps():
      return
    manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        progress=ocp.args.JsonSave(progress),
      ),
    )

  def restore(self, kind: str, like):
    """The newest save of `kind`, or None where there is none.

    Args:
      kind: "latest" or "best".
      like: a state of the wanted structure, shapes and dtypes.

    Raises:
      ValueError: the save has another structure or another shape.
    """
    manager = self._managers[kind]
    step = manager.latest_step()
    if step is None:
      return None
    abstract = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), like
    )
    try:
      restored = manager.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract),
          progress=ocp.args.JsonRestore(),
        ),
      )
    except (ValueError, KeyError, TypeError) as error:
      raise ValueError(
        f"{self.folder / kind / str(step)}: the checkpoint does not fit this"
        f" model ({str(error).splitlines()[0]}); use another --workdir, or"
        " the flags it was trained with."
      ) from error
    state = jax.tree.map(np.asarray, restored.state)
    for (path, got), want in zip(
      jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(abstract)
    ):
      if got.shape != want.shape:
        raise ValueError(
          f"{self.folder / kind / str(step)}:"
          f" {jax.tree_util.keystr(path)} has shape {got.shape}, the model"
          f" wants {want.shape}; use the flags it was trained with."
        )
    return state, dict(restored.progress)

  def drop_after(self, kind: str, step: int) -> None:
    """Deletes saves later than `step`: a resumed run makes them again."""
    for later in self._managers[kind].all_steps():
      if later > step:
        self._managers[kind].delete(later)

  def wait(self) -> None:
    """Returns once every save is on disk."""
    for manager in self._managers.values():
      manager.wait_until_finished()

  def close(self) -> None:
    for manager in self._managers.values():
      manager.wait_until_finished()
      manager.close()


def write_text(path, text: str) -> None:
  """Writes a file whole or not at all."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(path.name + ".partial")
  partial.write_text(text, "utf-8")
  partial.rename(path)


def write_json(path, value) -> None:
  """Writes JSON whole or not at all."""
  write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


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
    changed = difference(json.loads(path.read_text("utf-8")), config)
    if changed:
      raise ValueError(
        f"{path}: made with another configuration ({'; '.join(changed)});"
        " pass its flags, or another --workdir."
      )
  write_json(path, config)
