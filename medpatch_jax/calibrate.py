"""Temperatures fitted on validation (METHOD.md section 3, paper 3.2).

Dims: N stays, T token positions, C labels, P positions with a temperature, K
bins.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

KINDS = ("none", "scalar", "label", "position")
BINS = 10


@flax.struct.dataclass
class Temperature:
  """What logits of one modality are divided by; positive.

  Attributes:
    position: f32[P C]; P is 0 for the kinds none, scalar and label.
    label: f32[C], for positions from P on.
  """

  position: jax.Array
  label: jax.Array

  @classmethod
  def ones(cls, num_labels: int) -> "Temperature":
    """Calibration `none`."""
    return cls(jnp.ones((0, num_labels)), jnp.ones((num_labels,)))


def apply(logits, temperature: Temperature):
  """logits f32[... T C] divided by their temperatures -> f32[... T C]."""
  T, C = logits.shape[-2:]
  seen = temperature.position[:T]
  rest = jnp.broadcast_to(temperature.label[None], (T - len(seen), C))
  table = jnp.concatenate([seen, rest])
  return logits / table.reshape((1,) * (logits.ndim - 2) + (T, C))


def confidence(logits):
  """Calibrated logits -> max(p, 1 - p) in [0.5, 1], any shape."""
  p = jax.nn.sigmoid(logits)
  return jnp.maximum(p, 1.0 - p)


def entropy(logits):
  """Calibrated logits -> entropy of the prediction in bits, [0, 1]."""
  p = jax.nn.sigmoid(logits)
  nats = -(
    p * jax.nn.log_sigmoid(logits) + (1 - p) * jax.nn.log_sigmoid(-logits)
  )
  return jnp.clip(nats / jnp.log(2.0), 0.0, 1.0)


def bin_sums(probability, label, mask, bins: int = BINS):
  """Sums over tokens in equal bins (lo, hi] of confidence max(p, 1 - p).

  Args:
    probability: f32[N C].
    label: f32[N C] in {0, 1}.
    mask: bool[N].
    bins: K.

  Returns:
    f32[3 K C]: count, sum of confidence, number right.
  """
  sure = jnp.maximum(probability, 1.0 - probability)
  right = (probability >= 0.5) == (label > 0.5)
  edge = _edges(bins)

  def one(lo, hi):
    inside = (sure > lo) & (sure <= hi) & mask[:, None]
    return jnp.stack(
      [
        inside.sum(axis=0).astype(jnp.float32),
        jnp.where(inside, sure, 0.0).sum(axis=0),
        (inside & right).sum(axis=0).astype(jnp.float32),
      ]
    )

  return jnp.stack([one(edge[k], edge[k + 1]) for k in range(bins)], axis=1)


def _edges(bins: int) -> np.ndarray:
  """Edges f32[K + 1], rounded as torch.linspace does: from both ends."""
  step = float(np.float32(1) / np.float32(bins))
  k = np.arange(bins + 1)
  half = (bins + 1) // 2
  return np.where(k < half, step * k, 1 - step * (bins - k)).astype(np.float32)


def error(sums) -> np.ndarray:
  """`bin_sums` f[3 K C] -> expected calibration error f64[C], in [0, 1]."""
  count, sure, right = np.asarray(sums, np.float64)
  total = np.maximum(count.sum(axis=0), 1.0)
  return np.abs(sure - right).sum(axis=0) / total


def ece(logits, mask, label, temperature=None, rows: int = 256) -> np.ndarray:
  """Expected calibration error of tokens, weighted by count, per label.

  Args:
    logits: f32[N T C], before any temperature; may lie on disk.
    mask: bool[N T], real tokens.
    label: f32[N C].
    temperature: None for none.
    rows: taken at once.

  Returns:
    f64[C].
  """
  C = label.shape[1]
  temperature = temperature or Temperature.ones(C)
  total = np.zeros((3, BINS, C))
  for lo in range(0, len(label), rows):
    index = _rows(
      np.arange(lo, min(lo + rows, len(label))), min(rows, len(label))
    )
    total += np.asarray(_ece(*_take(logits, mask, label, index), temperature))
  return error(total)


def mean_confidence(logits, mask, rows: int = 256) -> np.ndarray:
  """Mean of max(p, 1 - p) over a stay's tokens, f32[N C]; 0 without any.

  Args:
    logits: f32[N T C]; may lie on disk.
    mask: bool[N T], real tokens.
    rows: taken at once.
  """
  out = np.zeros((len(logits), logits.shape[2]), np.float32)
  for lo in range(0, len(logits), rows):
    real = mask[lo : lo + rows, :, None]
    # max(p, 1 - p) is the sigmoid of |z|.
    size = np.abs(np.asarray(logits[lo : lo + rows], np.float32))
    sure = np.where(real, 1 / (1 + np.exp(-size)), 0).sum(axis=1)
    out[lo : lo + rows] = sure / np.maximum(real.sum(axis=1), 1)
  return out


def fit(
  logits,
  mask,
  label,
  kind: str = "position",
  *,
  batch_size: int = 16,
  epochs: int = 5,
  steps: int = 700,
  learning_rate: float = 1e-2,
  seed: int = 0,
) -> tuple[Temperature, dict]:
  """Fits temperatures by the cross-entropy of real tokens, Adam.

  Kept is the epoch with the lowest expected calibration error, mean over
  labels; temperature 1 counts as epoch 0. Positions never seen take the
  label's temperature.

  Args:
    logits: f32[N T C] of validation, before any temperature; may lie on disk.
    mask: bool[N T], real tokens.
    label: f32[N C].
    kind: one of `KINDS`.
    batch_size: rows of an update.
    epochs: at least so many.
    steps: at least so many updates, or small cohorts barely move.
    learning_rate: Adam's, of the logarithm of the temperature.
    seed: of the order.

  Returns:
    (Temperature; {"before", "after": ECE f64[C], "epoch": the one kept,
    "epochs": run}).

  Raises:
    ValueError: an unknown kind.
  """
  if kind not in KINDS:
    raise ValueError(f"calibration={kind!r}: wanted one of {', '.join(KINDS)}.")
  N, T, C = logits.shape
  before = ece(logits, mask, label)
  best = Temperature.ones(C)
  report = {"before": before, "after": before, "epoch": 0, "epochs": 0}
  if kind == "none" or not np.any(mask):
    return best, report
  seen = np.zeros(T, bool)
  for lo in range(0, N, 4096):
    seen |= np.asarray(mask[lo : lo + 4096]).any(axis=0)
  log = {"label": jnp.zeros((1 if kind == "scalar" else C,))}
  log["position"] = jnp.zeros((T if kind == "position" else 0, C))
  state = optax.adam(learning_rate).init(log)
  rng = np.random.default_rng(seed)
  size = min(batch_size, N)
  per_epoch = -(-N // size)
  for epoch in range(1, max(epochs, -(-steps // per_epoch)) + 1):
    order = rng.permutation(N)
    for lo in range(0, N, size):
      index = _rows(order[lo : lo + size], size)
      batch = _take(logits, mask, label, index)
      log, state = _step(log, state, *batch, learning_rate)
    temperature = _temperature(log, C, seen)
    after = ece(logits, mask, label, temperature)
    report["epochs"] = epoch
    if after.mean() < report["after"].mean():
      best = temperature
      report |= {"after": after, "epoch": epoch}
  return best, report


def _rows(index, size):
  """Fills up with -1, so that every batch has the same shape."""
  return np.pad(index, (0, size - len(index)), constant_values=-1)


def _take(logits, mask, label, index):
  """Rows `index` as arrays; those numbered -1 have an empty mask."""
  real = mask[index] & (index >= 0)[:, None]
  return np.asarray(logits[index], np.float32), real, np.asarray(label[index])


@jax.jit
def _ece(logits, mask, label, temperature):
  p = jax.nn.sigmoid(apply(logits, temperature))
  label = jnp.broadcast_to(label[:, None], p.shape)
  C = p.shape[-1]
  return bin_sums(p.reshape(-1, C), label.reshape(-1, C), mask.reshape(-1))


@jax.jit
def _step(log, state, logits, mask, label, learning_rate):
  """One update of the logarithms of the temperatures, hence positive."""

  def loss(log):
    tables = [log["label"][None]]
    if len(log["position"]):
      # The label's temperature is fitted beside, for positions never seen.
      tables.append(log["position"])
    return sum(_loss(logits * jnp.exp(-t)[None], mask, label) for t in tables)

  updates, state = optax.adam(learning_rate).update(jax.grad(loss)(log), state)
  return optax.apply_updates(log, updates), state


def _loss(logits, mask, label):
  loss = optax.sigmoid_binary_cross_entropy(
    logits, jnp.broadcast_to(label[:, None], logits.shape)
  )
  loss = jnp.where(mask[:, :, None], loss, 0.0).sum()
  return loss / jnp.maximum(mask.sum() * label.shape[1], 1)


def _temperature(log, num_labels, seen):
  label = jnp.broadcast_to(jnp.exp(log["label"]), (num_labels,))
  position = jnp.exp(log["position"])
  if len(position):
    position = jnp.where(seen[:, None], position, label[None])
  return Temperature(position=position, label=label)
