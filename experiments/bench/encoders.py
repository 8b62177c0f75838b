"""Encoders at the published size: `benchmark --what=input|train|encode`.

train: stage 1 as the loop does it (forward, backward, Adam) of the LSTM over 48
hours and of ViT-S/16 at 384 pixels. encode: the forward pass of BERT-base over
512 pieces and of the ViT, as pools need it. Of both the input alone (records
read, decoded, put together), the step alone on one batch, and both, as the loop
runs them; the share of the rate of a large matrix product measured on the same
device; and beside them, where the extra torch is installed, PyTorch eager doing
the same step (nn.LSTM, timm, transformers).
input: the input alone, of every kind.
"""

import contextlib
import os
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import clock, feeding
from experiments.bench.feeding import BASE, LABELS
from medpatch_jax import schema
from medpatch_jax.encode import cxr, ehr, notes
from medpatch_jax.input.variables import columns
from medpatch_jax.train import losses, optimizer, state, step
from medpatch_jax.train.parallel import Parallel
from medpatch_jax.unimodal import Unimodal

HOURS = 48
PARTS = {
  "input": ("ehr", "cxr", "rr"),
  "train": ("ehr", "cxr"),
  "encode": ("cxr", "rr"),
}


def run(what: str, batch_sizes, dtype: str, steps: int, folder) -> None:
  """Prints a line for each encoder and batch size.

  Args:
    what: input, train or encode.
    batch_sizes: stays.
    dtype: of the matrix products.
    steps: timed repeats; the median counts.
    folder: where records are written and kept; None for a temporary folder.
  """
  peak = rate_of_products(dtype, steps)
  print(
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, load"
    f" {os.getloadavg()[0]:.1f}, {dtype}; a large matrix product:"
    f" {peak / 1e12:.3f} TFLOP/s"
  )
  with contextlib.ExitStack() as stack:
    if folder is None:
      folder = stack.enter_context(tempfile.TemporaryDirectory(dir="."))
    data = feeding.records(folder)
    for m in PARTS[what]:
      for size in batch_sizes:
        _line(what, m, size, dtype, steps, peak, data)


def _line(what, m, size, dtype, steps, peak, data):
  batches = feeding.loader(data, m, size, steps, what == "train")
  reading = _seconds(lambda one: None, batches)
  line = f"{what} {m:4} batch {size:4}  input {1e3 * reading:8.1f} ms"
  if what == "input":
    print(f"{line} {size / reading:9.1f} stays/s", flush=True)
    return
  ours = Ours(what, m, size, dtype)
  alone = clock.median(ours, steps)
  share = operations(what, m, size) / alone / peak
  both = _seconds(lambda one: ours(ours.parallel.split(one)), batches)
  line += (
    f"  step {1e3 * alone:9.1f} ms  both {1e3 * both:9.1f} ms"
    f" {size / both:8.1f} stays/s  {share:5.0%} of that rate"
  )
  other = _torch(what, m, size) if dtype == "float32" else None
  if other is not None:
    theirs = clock.median(other, steps)
    line += f"  PyTorch's step {1e3 * theirs:9.1f} ms, ours {theirs / alone:.2f} times"
  print(f"{line}, load {os.getloadavg()[0]:.1f}", flush=True)


def _seconds(use, loader) -> float:
  """Seconds a batch, from the loader's start to the end of the last `use`."""
  began = time.perf_counter()
  for _, one in loader.epoch():
    use(one)
  return (time.perf_counter() - began) / loader.steps


def rate_of_products(dtype, steps) -> float:
  """Operations a second of a large square matrix product."""
  n = 1024 if jax.default_backend() == "cpu" else 8192
  x = jnp.ones((n, n), dtype)
  product = jax.jit(jnp.matmul)
  return (
    2 * n**3 / clock.median(lambda: product(x, x).block_until_ready(), steps)
  )


def _encoder(m, dtype):
  kind = jnp.dtype(dtype)
  if m == "ehr":
    return ehr.LSTM(width=BASE.width, dtype=kind)
  if m == "cxr":
    return cxr.ViT(
      image_size=BASE.image_size, joint_width=BASE.width, dtype=kind, **BASE.cxr
    )
  return notes.Notes(
    joint_width=BASE.width,
    vocab_size=BASE.vocab_size,
    positions=BASE.window,
    dtype=kind,
    **BASE.text,
  )


def batch(m: str, size: int) -> schema.Batch:
  """Random stays, all of them whole; "hidden" is what BERT makes of a note."""
  rng = np.random.default_rng(0)
  if m == "ehr":
    x = rng.standard_normal((size, HOURS, len(columns())), np.float32)
    fields = {"x": x, "mask": np.ones((size, HOURS), bool)}
  elif m == "cxr":
    S = BASE.image_size
    fields = {"image": rng.integers(0, 256, (size, S, S)).astype(np.uint8)}
  elif m == "hidden":
    shape = (size, BASE.window)
    tokens = rng.standard_normal((*shape, BASE.text["width"]), np.float32)
    fields = {"tokens": tokens, "mask": np.ones(shape, bool)}
  else:
    shape = (size, 1, BASE.window)
    piece = rng.integers(1000, BASE.vocab_size, shape).astype(np.int32)
    fields = {"piece": piece, "mask": np.ones(shape, bool)}
  label = rng.integers(0, 2, (size, LABELS)).astype(np.float32)
  return schema.Batch(
    {m: fields}, np.ones((size, 1), bool), label, np.ones(size, np.float32)
  )


def operations(what: str, m: str, size: int) -> float:
  """Multiplications and additions of a batch's large products.

  Those of the LSTM's gates or of the transformer's blocks; training has two
  more for each of them. Counted by hand: XLA counts a loop's body once.
  """
  if m == "ehr":
    one = 2 * HOURS * (len(columns()) + BASE.width) * 4 * BASE.width
  else:
    sizes = BASE.cxr if m == "cxr" else BASE.text
    D, M = sizes["width"], sizes["mlp"]
    T = BASE.window
    if m == "cxr":
      T = 1 + (BASE.image_size // sizes["patch"]) ** 2
    one = sizes["depth"] * (2 * T * D * (4 * D + 2 * M) + 4 * T * T * D)
  return size * one * (3 if what == "train" else 1)


class Ours:
  """A call that does one batch, as the loop does; `parallel` places batches."""

  def __init__(self, what: str, m: str, size: int, dtype: str):
    model = Unimodal(_encoder(m, dtype), LABELS, m, (m,))
    one = batch(m, size)
    params = jax.jit(model.init)(jax.random.key(0), one)["params"]

    def forward(params, frozen, batch, key):
      rngs = None if key is None else {"dropout": key}
      outputs, _ = model.apply(
        {"params": params}, batch, train=key is not None, rngs=rngs
      )
      return *losses.bce(outputs[m], batch.label, batch.weight), outputs

    self.parallel = Parallel()
    self._rows = self.parallel.split(one)
    self._learns = what == "train"
    if self._learns:
      rule = optimizer.adam(1e-3)
      self._mapped = self.parallel.train(step.train_step(forward, rule))
      start = state.create(jax.device_get(params), rule, 0)
    else:
      self._mapped = self.parallel.evaluate(step.eval_step(forward))
      start = params
    self._state = self.parallel.replicate(start)

  def __call__(self, rows=None):
    """One step on `rows`, by default always the same random ones."""
    rows = self._rows if rows is None else rows
    made = jax.block_until_ready(self._mapped(self._state, {}, rows))
    if self._learns:  # Its state is donated.
      self._state = made


def _torch(what, m, size):
  """PyTorch eager doing the same; None where it is not installed."""
  try:
    import timm
    import torch
    import transformers
  except ImportError:
    return None
  one = batch(m, size)
  fields = {k: torch.from_numpy(v) for k, v in one.inputs[m].items()}
  if m == "ehr":
    lstm = torch.nn.LSTM(len(columns()), BASE.width, batch_first=True)
    head, body = torch.nn.Linear(BASE.width, LABELS), lstm

    def summary():
      return lstm(fields["x"])[0][:, -1]

  elif m == "cxr":
    body = timm.create_model(
      "vit_small_patch16_384", pretrained=False, num_classes=0
    )
    head = torch.nn.Linear(BASE.cxr["width"], LABELS)

    def summary():
      film = fields["image"][:, None].expand(-1, 3, -1, -1).float() / 255
      return body(film)

  else:
    body = transformers.BertModel(
      transformers.BertConfig(vocab_size=BASE.vocab_size),
      add_pooling_layer=False,
    )
    head = torch.nn.Linear(BASE.text["width"], LABELS)

    def summary():
      mask = fields["mask"][:, 0].long()
      return body(fields["piece"][:, 0].long(), mask)[0][:, 0]

  label = torch.from_numpy(np.asarray(one.label))
  parameters = [*body.parameters(), *head.parameters()]
  adam = torch.optim.Adam(parameters, 1e-3)
  criterion = torch.nn.BCEWithLogitsLoss()

  def train():
    adam.zero_grad()
    criterion(head(summary()), label).backward()
    adam.step()

  def encode():
    with torch.inference_mode():
      head(summary())

  if what == "encode":
    body.eval()
  return train if what == "train" else encode
