"""The only file that knows how many devices and processes there are.

`Parallel` maps a function written for one device (with axis `step.AXIS`) over
every device of every process: by `jax.pmap`, or by jit and `jax.shard_map` over
a mesh (pmap is in maintenance mode upstream). Arguments are either replicated
(state, parameters) or split along their rows (batches).

All processes run the same program. Each reads its own rows of a batch; what is
written, process 0 writes, in a folder that all of them see.
"""

import itertools
import json

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from medpatch_jax.train import stop
from medpatch_jax.train.step import AXIS

KINDS = ("pmap", "shard_map")
# Seconds a process waits for the others: one of them may train a tokeniser or
# fit temperatures meanwhile.
PATIENCE = 3600


def connect(
  coordinator: str | None, count: int | None = None, index: int | None = None
) -> bool:
  """Joins the processes of a run; must come before any use of JAX's devices.

  Args:
    coordinator: host:port of process 0; "auto" leaves all to what JAX finds
      (SLURM, Open MPI, Cloud TPU); None for a single process.
    count: processes in all; None: as JAX finds.
    index: of this process, from 0; None: as JAX finds.

  Returns:
    Whether this is process 0, the one that writes.

  Raises:
    ValueError: JAX finds nothing, or the processes do not meet.
  """
  if coordinator is None:
    return True
  address = None if coordinator == "auto" else coordinator
  try:
    jax.distributed.initialize(address, count, index)
  except (ValueError, RuntimeError) as error:
    raise ValueError(
      f"--coordinator={coordinator}: the processes did not meet"
      f" ({str(error).splitlines()[0]}); pass --coordinator=HOST:PORT of process"
      " 0, --processes and --process to each."
    ) from error
  return jax.process_index() == 0


class Parallel:
  """Data parallelism over all devices of all processes."""

  def __init__(self, kind: str = "pmap", devices=None):
    """Chooses how to map and over which devices.

    Args:
      kind: "pmap" or "shard_map".
      devices: all there are by default; as many in each process.

    Raises:
      ValueError: an unknown kind, or processes with unlike numbers of devices.
    """
    if kind not in KINDS:
      raise ValueError(f"--parallel={kind}: wanted one of {', '.join(KINDS)}.")
    self.kind = kind
    # Rows of a batch lie in the order of the processes.
    self.devices = sorted(
      devices or _all(), key=lambda d: (d.process_index, d.id)
    )
    owners = [d.process_index for d in self.devices]
    counts = {owners.count(p) for p in owners}
    if len(counts) > 1:
      raise ValueError(
        f"processes with {' and '.join(map(str, sorted(counts)))} devices: every"
        " process must have as many."
      )
    self.processes = len(set(owners))
    self.index = jax.process_index()
    self._here = [d for d in self.devices if d.process_index == self.index]
    self.mesh = _mesh(self.devices)
    self._local = NamedSharding(_mesh(self._here), PartitionSpec(AXIS))
    self._meetings, self._polls = itertools.count(), itertools.count()

  @property
  def first(self) -> bool:
    """Whether this process writes the files."""
    return self.index == 0

  @property
  def share(self) -> tuple[int, int]:
    """(i, n): this process reads the i-th of n equal parts of a batch."""
    return self.index if self.processes > 1 else 0, self.processes

  def check(self, batch_size: int, accumulate: int = 1) -> None:
    """Refuses a batch that does not divide, naming the nearest that do.

    Args:
      batch_size: rows of an update.
      accumulate: parts of a device's rows that are computed one by one.

    Raises:
      ValueError: names the nearest sizes that divide.
    """
    devices = len(self.devices)
    n = devices * accumulate
    if batch_size % n:
      low = batch_size - batch_size % n
      near = f"{low} or {low + n}" if low else f"{n}"
      parts = f" in {accumulate} parts each" if accumulate > 1 else ""
      raise ValueError(
        f"--batch_size={batch_size} does not divide over {devices}"
        f" device{'s' * (devices > 1)}{parts}; pass {near}."
      )

  def meet(self) -> None:
    """Returns once every process is here."""
    if self.processes > 1:
      # Over the coordinator, not the devices: it may take long.
      ocp.multihost.sync_global_processes(
        f"medpatch-{next(self._meetings)}",
        timeout=PATIENCE,
        processes=set(range(self.processes)),
      )

  def listening(self):
    """Inside the `with`, SIGTERM and Ctrl-C wait for `poll` (stop.py)."""
    # JAX listens for SIGTERM itself where there are several processes.
    return stop.listening() if self.processes == 1 else stop.passing_on()

  def poll(self) -> None:
    """Ends the run at the same place on every process, if one got SIGTERM.

    Raises:
      Stopped: one did.
    """
    if self.processes == 1:
      asked = stop.asked()
    else:
      asked = multihost_utils.reached_preemption_sync_point(next(self._polls))
    if asked:
      raise stop.Stopped

  def in_turn(self, make):
    """`make()` on process 0, then on the others, which find what it wrote."""
    if self.first:
      made = make()
    self.meet()
    return made if self.first else make()

  def any(self, flags):
    """bool[N] of each process -> bool[N], True where one of them is."""
    if self.processes == 1:
      return flags
    return multihost_utils.process_allgather(flags).any(axis=0)

  def same(self, tree):
    """Process 0's tree of host arrays on every process, bit for bit.

    Args:
      tree: of the same structure, shapes and dtypes everywhere.
    """
    if self.processes == 1:
      return tree
    self.meet()
    flat, structure = jax.tree.flatten(jax.tree.map(np.asarray, tree))
    bits = [np.frombuffer(x.tobytes(), np.uint8) for x in flat]
    bits = multihost_utils.broadcast_one_to_all(bits)
    return structure.unflatten(
      [
        np.frombuffer(np.asarray(b).tobytes(), x.dtype).reshape(x.shape)
        for b, x in zip(bits, flat)
      ]
    )

  def same_json(self, value):
    """Process 0's JSON value on every process."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(self.same(np.int32(len(text))))
    text = np.pad(text[:size], (0, max(0, size - len(text))))
    return json.loads(self.same(text).tobytes())

  def replicate(self, tree):
    """A host tree -> one copy on each device."""
    if self.kind == "shard_map":
      whole = NamedSharding(self.mesh, PartitionSpec())
      if self.processes == 1:
        return jax.device_put(tree, whole)
      return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(whole, np.asarray(x)),
        tree,
      )
    n = len(self._here)
    return jax.tree.map(
      lambda x: jax.device_put(
        np.broadcast_to(np.asarray(x)[None], (n, *np.shape(x))), self._local
      ),
      tree,
    )

  def split(self, batch):
    """This process's rows of a batch -> all rows, spread over the devices."""
    if self.processes > 1:
      batch = self._padded(batch)
    if self.kind == "shard_map":
      sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
      if self.processes == 1:
        return jax.device_put(batch, sharding)
      return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x), batch
      )
    n = len(self._here)
    return jax.tree.map(
      lambda x: jax.device_put(
        x.reshape(n, x.shape[0] // n, *x.shape[1:]), self._local
      ),
      batch,
    )

  def _padded(self, batch):
    """Pads with zeros to the longest shape that a process has.

    Rows are padded to the longest of a batch, and no process knows how long
    the others' are.
    """
    leaves, structure = jax.tree.flatten(batch)
    shapes = np.concatenate([x.shape for x in leaves]).astype(np.int32)
    shapes = multihost_utils.process_allgather(shapes).max(axis=0)
    wanted = np.split(shapes, np.cumsum([x.ndim for x in leaves])[:-1])
    return structure.unflatten(
      [
        np.pad(x, [(0, int(w) - s) for s, w in zip(x.shape, shape)])
        for x, shape in zip(leaves, wanted)
      ]
    )

  def parts(self, batch):
    """(number along the axis, its rows) of each device of this process."""
    n = len(self._here)
    for i in range(n):
      rows = jax.tree.map(
        lambda x, i=i: x.reshape(n, x.shape[0] // n, *x.shape[1:])[i], batch
      )
      yield self.share[0] * n + i, rows

  def memory(self) -> int | None:
    """Bytes of the smallest device of this process, None where unknown."""
    found = [(d.memory_stats() or {}).get("bytes_limit") for d in self._here]
    return None if None in found else min(found)

  def planned(self, mapped, state, frozen, batch) -> int | None:
    """Bytes that a mapped training step needs beside its arguments.

    Args:
      mapped: of `train`.
      state, frozen: replicated; may have been donated.
      batch: this process's rows.

    Returns:
      Of one device, as XLA plans it; None where it does not tell, or finds no
      plan that fits.
    """
    if self.processes > 1:
      return None  # The others do not know that this one asks.

    def like(x):
      return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

    def row(x):
      if self.kind == "shard_map":
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
      n = len(self._here)
      return jax.ShapeDtypeStruct((n, x.shape[0] // n, *x.shape[1:]), x.dtype)

    arguments = *jax.tree.map(like, (state, frozen)), jax.tree.map(row, batch)
    try:
      plan = mapped.lower(*arguments).compile().memory_analysis()
    except jax.errors.JaxRuntimeError:
      return None
    return plan and plan.temp_size_in_bytes

  def one(self, tree):
    """A replicated tree -> its host copy."""
    if self.kind == "shard_map":
      return jax.device_get(tree)
    return jax.device_get(jax.tree.map(lambda x: x[0], tree))

  def rows(self, tree):
    """A split tree -> host arrays with all rows, on every process."""
    if self.kind == "pmap":
      tree = jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:]), jax.device_get(tree)
      )
    if self.processes > 1:
      return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)

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


def _all():
  """Every device of every process.

  Raises:
    ValueError: JAX finds none of the platform it was told to use.
  """
  try:
    return jax.devices()
  except (RuntimeError, AssertionError) as error:
    # An assertion, and an empty one, where JAX is built for other devices.
    reason = str(error).partition("\n")[0] or "JAX is built for others."
    raise ValueError(
      f"no device of JAX_PLATFORMS={jax.config.jax_platforms}: {reason} Install"
      " JAX for it (extra cuda or tpu), or set JAX_PLATFORMS=cpu."
    ) from error


def _mesh(devices):
  return jax.make_mesh(
    (len(devices),),
    (AXIS,),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=devices,
  )
