"""MedPatch once more, from METHOD.md alone, to make golden files of any kind.

Nothing of the package is used here, and as little of its cleverness: tokens
are projected one by one and pooled afterwards, as in the released code, in
float64, one modality, label and cluster at a time.

Dims: B stays, T tokens, D token width, E joint width, C labels, S sources.
"""

import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np

DIMS = {"ehr": 16, "cxr": 20, "rr": 24, "dn": 24}
TOKENS = {"cxr": 10, "rr": 8, "dn": 8}
ORDER = ("ehr", "cxr", "rr", "dn")
PROJECT = {
  "cxr": "cxr_model.cxr_encoder.projection_layer",
  "rr": "text_model.fc_rr",
  "dn": "text_model.fc_dn",
}
HEADS = ("high", "low", "late")  # In the order of their loss weights.
LENGTHS = {"cxr": 578, "rr": 512, "dn": 512}
EMPTY = np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True)
class Case:
  """One golden file to be.

  Attributes:
    modalities: in the order of the flag.
    labels: C.
    fuser: None, "lstm" or "transformer".
    ablation: None, without_late_module, without_missingness_module or
      without_joint_module.
    entropy: tokens are split by entropy.
    thresholds: one per modality, in `ORDER`.
    present: rows of presence in the order of `modalities`, or "full".
    switches: released behaviours.
    predictions: order of rows of `weights` and of fuser inputs.
    width: E; a multiple of 8.
    seed: of all numbers.
  """

  modalities: tuple[str, ...]
  labels: int = 1
  fuser: str | None = None
  ablation: str | None = None
  entropy: bool = False
  thresholds: tuple[float, ...] = (0.6, 0.62, 0.58, 0.64)
  present: tuple[tuple[int, ...], ...] | str = "full"
  switches: tuple[str, ...] = ()
  predictions: tuple[str, ...] = ORDER
  width: int = 16
  seed: int = 0

  @property
  def made(self):
    return [m for m in self.predictions if m in self.modalities]

  @property
  def sources(self):
    joint = ["low", "high"]
    return {
      None: [*self.made, "missingness", *joint],
      "without_late_module": ["missingness", *joint],
      "without_missingness_module": [*self.made, *joint],
      "without_joint_module": [*self.made, "missingness"],
    }[self.ablation]


@contextlib.contextmanager
def double():
  """In float64, and with axes that are added as NumPy does."""
  with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
    yield


def sigmoid(z):
  return 1 / (1 + jnp.exp(-z))


def bce(z, y):
  return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))


def dense(p, name, x):
  return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def norm(p, name, x):
  x = x - x.mean(-1, keepdims=True)
  x = x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
  return x * p[f"{name}.weight"] + p[f"{name}.bias"]


def classify(p, name, x):
  x = norm(p, f"{name}.classifier.layernorm", x)
  return dense(p, f"{name}.classifier.fc", x)


def lstm(p, name, x):
  """x f64[T D] of one stay -> hidden states f64[T H]."""
  H = p[f"{name}.weight_hh_l0"].shape[1]
  h = c = jnp.zeros(H)
  states = []
  for row in x:
    gates = p[f"{name}.weight_ih_l0"] @ row + p[f"{name}.bias_ih_l0"]
    gates = gates + p[f"{name}.weight_hh_l0"] @ h + p[f"{name}.bias_hh_l0"]
    i, f, g, o = gates.reshape(4, H)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    states.append(h)
  return jnp.stack(states)


def transformer(p, name, x, heads=8):
  """One pre-norm block over x f64[N E] of one stay."""
  E = x.shape[-1]
  theirs = f"{name}.layers.0"
  qkv = norm(p, f"{theirs}.0.norm", x) @ p[f"{theirs}.0.fn.to_qkv.weight"].T
  q, k, v = (a.reshape(len(x), heads, -1) for a in jnp.split(qkv, 3, axis=-1))
  score = jnp.einsum("nad,mad->anm", q, k) / np.sqrt(E // heads)
  y = jnp.einsum("anm,mad->nad", jax.nn.softmax(score, axis=-1), v)
  x = x + dense(p, f"{theirs}.0.fn.to_out.0", y.reshape(len(x), -1))
  y = dense(p, f"{theirs}.1.fn.net.0", norm(p, f"{theirs}.1.norm", x))
  y = 0.5 * y * (1 + jax.scipy.special.erf(y / np.sqrt(2)))
  return x + dense(p, f"{theirs}.1.fn.net.3", y)


def encode(p, given, case, m, b):
  """Stay b -> (tokens f64[T D], those that count bool[T], summary f64[E])."""
  there = bool(given[f"{m}_present"][b]) if m != "ehr" else True
  if m == "ehr":
    n, longest = given["seq_lengths"][b], given["seq_lengths"].max()
    states = lstm(p, "ehr_model.layer0", given["x"][b, :n])
    tokens = jnp.pad(states, ((0, longest - n), (0, 0)))
    real = np.arange(longest) < n
    if "padding_tokens" in case.switches:
      real[:] = True
    return tokens, real, states[-1]
  tokens = jnp.asarray(given[f"{m}_tokens"][b])
  counts = there or "absent_tokens" in case.switches
  projected = dense(p, PROJECT[m], tokens)
  summary = projected[0] if m == "cxr" else projected.mean(axis=0)
  return tokens, np.full(len(tokens), counts), summary * counts


def score(p, case, m, tokens):
  """(what is compared with the threshold, what is sorted by) f64[T C]."""
  z = dense(p, f"{m}_confidence_predictor.confidence_layer", tokens)
  table = p[f"{m}_temperature"].reshape(-1, case.labels)[: len(tokens)]
  spared = "ehr_uncalibrated" in case.switches and case.labels > 1
  if not (m == "ehr" and spared):
    z = z / table
  prob = sigmoid(z)
  gamma = jnp.maximum(prob, 1 - prob)
  if not case.entropy:
    return gamma, gamma
  nats = -prob * jnp.log(prob) - (1 - prob) * jnp.log(1 - prob)
  if "entropy_direction" in case.switches:
    return nats, nats
  return nats / np.log(2), gamma


def clusters(p, case, m, tokens, real):
  """{cluster: (vectors f64[C E], mean confidences f64[C])}, and margins."""
  compared, sorted_by = score(p, case, m, tokens)
  threshold = case.thresholds[ORDER.index(m)]
  upside_down = case.entropy and "entropy_direction" not in case.switches
  high = (compared <= threshold) if upside_down else (compared >= threshold)
  high = np.asarray(high)
  margin = np.abs(np.asarray(compared) - threshold)[real]
  out = {}
  for name, members in (("high", high), ("low", ~high)):
    vectors, means = [], []
    for c in range(case.labels):
      chosen = np.flatnonzero(members[:, c] & real)
      if not len(chosen):
        vectors.append(jnp.zeros(case.width))
        means.append(0.0)
        continue
      x = tokens[chosen]
      if m != "ehr":
        x = dense(p, f"{m}_{name}_proj", x)
      vectors.append(x.mean(axis=0))
      means.append(float(sorted_by[chosen, c].mean()))
    out[name] = jnp.stack(vectors), np.array(means)
  return out, margin.min() if margin.size else 1.0


def fuse(p, case, name, vectors, means):
  """Vectors f64[M*C E] and their mean confidences -> logits f64[C]."""
  head = f"{name}_fuser_classifier"
  if case.fuser is None:
    return classify(p, head, vectors.reshape(-1)), 1.0
  order = np.argsort(means, kind="stable")
  gaps = np.diff(means[order])
  x = vectors[order]
  if case.fuser == "lstm":
    x = lstm(p, f"{name}_fuser_lstm", x)[-1]
  else:
    x = transformer(p, f"{name}_fuser_transformer", x).mean(axis=0)
  # Empty clusters are alike: their order does not matter.
  gaps = gaps[means[order][1:] > 0]
  return classify(p, head, x), gaps.min() if gaps.size else 1.0


def late(p, case, logits, column):
  """Sources' logits f64[C] and presence of modalities -> logits f64[C]."""
  here = np.array([float(column.get(s, True)) for s in case.sources])
  z = jnp.stack([logits[s] for s in case.sources])
  weights = jax.nn.softmax(p["weights"], axis=0) * here[:, None]
  axis = None if "late_norm" in case.switches else 0
  return (z * weights / weights.sum(axis=axis)).sum(axis=0)


def stay(p, given, case, b):
  """Stay b -> ({head: logits f64[C]}, smallest margin of any decision)."""
  logits, pools, margins = {}, {"high": [], "low": []}, []
  for m in case.made:
    tokens, real, summary = encode(p, given, case, m, b)
    logits[m] = classify(p, f"{m}_classifier", summary)
    found, margin = clusters(p, case, m, tokens, real)
    margins.append(margin)
    for name, pair in found.items():
      pools[name].append(pair)
  there = {
    m: bool(given[f"{m}_present"][b]) if m != "ehr" else True
    for m in case.modalities
  }
  flags = jnp.array([float(there[m]) for m in case.modalities])
  logits["missingness"] = classify(p, "missingness_classifier", flags)
  for name, pairs in pools.items():
    vectors = jnp.concatenate([v for v, _ in pairs])
    means = np.concatenate([c for _, c in pairs])
    logits[name], margin = fuse(p, case, name, vectors, means)
    margins.append(margin)
  column = there
  if "presence_order" in case.switches:
    made = [m for m in ("ehr", "cxr", "dn", "rr") if m in case.modalities]
    column = {m: there[f] for m, f in zip(made, case.modalities)}
  heads = {k: logits[k] for k in ("high", "low")}
  heads["late"] = late(p, case, logits, column)
  heads["missingness"] = logits["missingness"]
  return heads, min(margins)


def forward(learn, frozen, given, case):
  """(loss, ({head: logits f64[B C]}, {term: loss}, smallest margin)).

  `frozen` decides which token goes where, so it may not be traced.
  """
  p = learn | frozen
  y = given["y"].reshape(len(given["y"]), -1)
  rows = [stay(p, given, case, b) for b in range(len(y))]
  heads = {k: jnp.stack([r[k] for r, _ in rows]) for k in rows[0][0]}
  missingness = heads.pop("missingness")
  if case.ablation == "without_joint_module":
    # The released code repeats these logits in place of high and low.
    heads |= {"high": missingness, "low": missingness}
  terms = {k: bce(heads[k], y) for k in HEADS}
  beta = jax.nn.softmax(p["trainer_weights"])
  loss = sum(b * terms[k] for b, k in zip(beta, terms))
  if case.ablation == "without_joint_module":
    loss = terms["late"]
  return loss, (heads, terms, min(margin for _, margin in rows))


def parameters(rng, case):
  """Random parameters by name: ({learned}, {frozen})."""
  C, E, M = case.labels, case.width, len(case.modalities)
  learn, frozen = {}, {}

  def draw(*shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(np.float32)

  def linear(into, name, out, width, scale=1.0):
    into[f"{name}.weight"] = draw(out, width, scale=scale / np.sqrt(width))
    into[f"{name}.bias"] = draw(out, scale=0.1)

  def normal(name, width):
    learn[f"{name}.weight"] = 1 + draw(width, scale=0.1)
    learn[f"{name}.bias"] = draw(width, scale=0.1)

  def head(name, width):
    normal(f"{name}.classifier.layernorm", width)
    linear(learn, f"{name}.classifier.fc", C, width)

  def recurrent(into, name, width):
    linear(into, f"{name}.ih", 4 * E, width)
    linear(into, f"{name}.hh", 4 * E, E)
    for part in ("ih", "hh"):
      for kind in ("weight", "bias"):
        into[f"{name}.{kind}_{part}_l0"] = into.pop(f"{name}.{part}.{kind}")

  for m in case.modalities:
    length = LENGTHS.get(m, 48 if C == 1 else 2646)
    table = np.abs(1 + draw(length, C, scale=0.2)) + np.float32(0.1)
    frozen[f"{m}_temperature"] = table[:, 0] if C == 1 else table
    name = f"{m}_confidence_predictor.confidence_layer"
    linear(frozen, name, C, DIMS[m] if m != "ehr" else E, 2.0)
    head(f"{m}_classifier", E)
    if m == "ehr":
      recurrent(frozen, "ehr_model.layer0", 76)
      continue
    linear(frozen, PROJECT[m], E, DIMS[m])
    for cluster in ("high", "low"):
      linear(learn, f"{m}_{cluster}_proj", E, DIMS[m])
  head("missingness_classifier", M)
  for cluster in ("high", "low"):
    fuser = f"{cluster}_fuser"
    if case.fuser == "lstm":
      recurrent(learn, f"{fuser}_lstm", E)
    elif case.fuser == "transformer":
      block = f"{fuser}_transformer.layers.0"
      normal(f"{block}.0.norm", E)
      linear(learn, f"{block}.0.fn.to_qkv", 3 * E, E)
      del learn[f"{block}.0.fn.to_qkv.bias"]
      linear(learn, f"{block}.0.fn.to_out.0", E, E)
      normal(f"{block}.1.norm", E)
      linear(learn, f"{block}.1.fn.net.0", 2 * E, E)
      linear(learn, f"{block}.1.fn.net.3", E, 2 * E)
    head(f"{fuser}_classifier", E if case.fuser else M * C * E)
  learn["weights"] = 1 + draw(len(case.sources), C, scale=0.1)
  learn["trainer_weights"] = np.array([1.0, 0.5, 1.7], np.float32)
  return learn, frozen


def inputs(rng, case):
  """Random inputs by name; the rows of `present` say who has what."""
  full = ((1,) * len(case.modalities),) * 3
  rows = np.array(full if case.present == "full" else case.present, bool)
  B = len(rows)
  given = {}
  if "ehr" in case.modalities:
    given["x"] = rng.normal(size=(B, 12, 76)).astype(np.float32)
    given["seq_lengths"] = np.array([12, 5, 9, 7, 1][:B])
  for m, here in zip(case.modalities, rows.T):
    if m == "ehr":
      continue
    shape = (B, TOKENS[m], DIMS[m])
    given[f"{m}_tokens"] = rng.normal(size=shape).astype(np.float32)
    given[f"{m}_present"] = here
    if m != "cxr":
      given[m] = np.where(here, "a note", " ")
  y = rng.integers(0, 2, (B, case.labels)).astype(np.float32)
  given["y"] = y[:, 0] if case.labels == 1 else y
  return given


def wide(tree):
  """Numbers of floating point as float64."""
  return {
    k: jnp.asarray(v, jnp.float64) if v.dtype == np.float32 else v
    for k, v in tree.items()
  }


def unused(case, name):
  """Whether the ablation leaves a learned parameter without a gradient."""
  return {
    None: False,
    "without_late_module": name.split(".")[0]
    in {f"{m}_classifier" for m in case.modalities},
    "without_missingness_module": name.startswith("missingness_"),
    "without_joint_module": name.startswith(("high_", "low_", "trainer_"))
    or "_proj." in name,
  }[case.ablation]


def draw(case):
  """(learned, frozen, inputs) whose decisions no rounding can turn."""
  for seed in range(case.seed, case.seed + 50):
    rng = np.random.default_rng(seed)
    numbers = *parameters(rng, case), inputs(rng, case)
    _, (_, _, margin) = forward(*map(wide, numbers), case)
    if margin > 2e-5:
      return numbers
  raise AssertionError("no seed keeps away from the thresholds")


def file(case, path, steps: int = 0):
  """Writes a golden file; with `steps`, of that many Adam steps."""
  with double():
    learn, frozen, given = draw(case)
    gradient = jax.value_and_grad(forward, has_aux=True)
    arrays = {f"in/{k}": v for k, v in given.items()}
    arrays |= {f"param/{k}": v for k, v in (learn | frozen).items()}
    found, other = (wide(learn), wide(frozen), wide(given)), {}
    if steps:
      other = train(gradient, *found, case, steps)
    else:
      (loss, (heads, terms, _)), grads = gradient(*found, case)
      names = {"high": "high_conf", "low": "low", "late": "late"}
      other = {f"out/{names[k]}": heads[k] for k in names}
      other |= {f"loss/{k}": v for k, v in terms.items()} | {"loss/loss": loss}
      other |= {
        f"grad/{k}": EMPTY if unused(case, k) else v for k, v in grads.items()
      }
    if case.ablation == "without_joint_module" and not case.switches:
      gone = ("out/high_conf", "out/low", "loss/high", "loss/low")
      other = {k: v for k, v in other.items() if k not in gone}
    arrays |= {k: np.asarray(v, np.float32) for k, v in other.items()}
  np.savez(path, meta=json.dumps(describe(case, steps)), **arrays)
  return path


def train(gradient, learn, frozen, given, case, steps):
  """Adam as PyTorch's, learning rate 1e-3 and both decays 0.9."""
  mean = square = jax.tree.map(jnp.zeros_like, learn)
  rows = []
  for t in range(1, steps + 1):
    (loss, (_, terms, _)), grads = gradient(learn, frozen, given, case)
    rows.append([float(loss), *(float(terms[k]) for k in HEADS)])
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, grads)
    square = jax.tree.map(lambda s, g: 0.9 * s + 0.1 * g * g, square, grads)
    scale = 1 - 0.9**t
    learn = jax.tree.map(
      lambda p, m, s, c=scale: p - 1e-3 * (m / c) / (jnp.sqrt(s / c) + 1e-8),
      learn,
      mean,
      square,
    )
  return {f"out/{k}": v for k, v in learn.items()} | {
    "out/losses": np.array(rows)
  }


def describe(case, steps):
  """The file's `meta`, in the words of those of the released code."""
  flag = "-".join(case.modalities).upper()
  args = {
    "modalities": flag,
    "num_classes": case.labels,
    "task": "in-hospital-mortality" if case.labels == 1 else "phenotyping",
    "fuser": case.fuser,
    "ablation": case.ablation,
    "fusion_type": "c-e-msma" if case.entropy else "c-msma",
    "patch_output_dim": case.width,
  } | {f"{m}_confidence_threshold": v for m, v in zip(ORDER, case.thresholds)}
  meta = {"args": args, "prediction_order": [m.upper() for m in case.made]}
  if steps:
    args = {k: args[k] for k in args if k not in ("task", "fusion_type")}
    return {"module": "train_steps", "args": args}
  if case.switches:
    meta["module"] = "emsma" if case.entropy else "cmsma"
    meta["mask_order"] = flag.split("-")
  return meta
