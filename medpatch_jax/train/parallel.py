"""The only file that knows how many devices there are.

`Parallel` maps a function written for one device (with axis `step.AXIS`) over
every device: by `jax.pmap`, or by jit and `jax.shard_map` over a mesh (pmap is
in maintenance mode upstream). Arguments are either replicated (state,
parameters) or split along their rows (batches).
"""

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from medpatch_jax.train.step import AXIS

KINDS = ("pmap", "shard_map")


class Parallel:
  """Data parallelism over all devices."""

  def __init__(self, kind: str = "pmap", devices=None):
    """Chooses how to map and over which devices.

    Args:
      kind: "pmap" or "shard_map".
      devices: of this process; all of them by default.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in KINDS:
      raise ValueError(f"--parallel={kind}: wanted one of {', '.join(KINDS)}.")
    self.kind = kind
    self.devices = list(devices or jax.local_devices())
    self.mesh = jax.make_mesh(
      (len(self.devices),),
      (AXIS,),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=self.devices,
    )

  def check(self, batch_size: int) -> None:
    """Refuses a batch that does not divide, naming the nearest that do."""
    n = len(self.devices)
    if batch_size % n:
      low = batch_size - batch_size % n
      near = f"{low} or {low + n}" if low else f"{n}"
      raise ValueError(
        f"--batch_size={batch_size} does not divide over {n} devices; pass"
        f" {near}."
      )

  def replicate(self, tree):
    """A host tree -> one copy on each device."""
    if self.kind == "shard_map":
      return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))
    sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
    n = len(self.devices)
    return jax.tree.map(
      lambda x: jax.device_put(
        np.broadcast_to(np.asarray(x)[None], (n, *np.shape(x))), sharding
      ),
      tree,
    )

  def split(self, batch):
    """A host batch -> its rows spread over the devices."""
    sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
    if self.kind == "shard_map":
      return jax.device_put(batch, sharding)
    n = len(self.devices)
    return jax.tree.map(
      lambda x: jax.device_put(
        x.reshape(n, x.shape[0] // n, *x.shape[1:]), sharding
      ),
      batch,
    )

  def one(self, tree):
    """A replicated tree -> its host copy."""
    if self.kind == "shard_map":
      return jax.device_get(tree)
    return jax.device_get(jax.tree.map(lambda x: x[0], tree))

  def rows(self, tree):
    """A split tree -> host arrays with all rows."""
    tree = jax.device_get(tree)
    if self.kind == "shard_map":
      return tree
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)

  def train(self, step):
    """Maps step(state, frozen, batch) -> state; `state` is donated."""
    if self.kind == "pmap":
      return jax.pmap(step, AXIS, donate_argnums=(0,), devices=self.devices)
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.shard_map(
      step,
      mesh=self.mesh,
      in_specs=(whole, whole, split),
      out_specs=whole,
      check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=(0,))

  def evaluate(self, step):
    """Maps step(params, frozen, batch) -> (sums replicated, rows split)."""
    if self.kind == "pmap":
      return jax.pmap(step, AXIS, devices=self.devices)
    whole, split = PartitionSpec(), PartitionSpec(AXIS)
    return jax.jit(
      jax.shard_map(
        step,
        mesh=self.mesh,
        in_specs=(whole, whole, split),
        out_specs=(whole, split),
        check_vma=False,
      )
    )
