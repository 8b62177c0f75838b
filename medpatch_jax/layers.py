"""Layers shared by encoders, fusers and baselines.

Dims: B rows, T tokens, D width, A heads, K head width, C labels.
"""

import math
from typing import Any

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.lstm import Lstm as Lstm


def layer_norm(eps: float = 1e-5, dtype: Any = jnp.float32, name=None):
  """PyTorch's LayerNorm; two passes, since E[x^2] - E[x]^2 cancels."""
  return nn.LayerNorm(
    epsilon=eps, use_fast_variance=False, dtype=dtype, name=name
  )


class Classifier(nn.Module):
  """LayerNorm (eps 1e-5), Dense: the head of every prediction.

  The norm takes away a summary's mean and length. Without it the Dense is all
  there is.

  The norm's scale and bias are applied to the Dense's kernel instead of the
  input: the same function, but the input of the joint module is 51,200 wide
  with 16 rows, and sums down its columns miss the cache at every step.

  Attributes:
    num_labels: C.
    dtype: of the matrix product; parameters and logits stay float32.
    norm: whether there is one; without, there is no parameter `norm` either.
  """

  num_labels: int
  dtype: Any = jnp.float32
  norm: bool = True

  @nn.compact
  def __call__(self, x):
    """x f32[B D] -> logits f32[B C]."""
    D, norm = x.shape[-1], None
    if self.norm:
      norm = self.param(
        "norm", lambda _: {"scale": jnp.ones((D,)), "bias": jnp.zeros((D,))}
      )
    dense = self.param("dense", self._dense, D)
    kernel, bias, x = dense["kernel"], dense["bias"], x.astype(jnp.float32)
    if norm is not None:
      x = x - _mean(x)
      x = x * jax.lax.rsqrt(_mean(x * x) + 1e-5)
      # Computed once, rather than anew inside every product that reads it.
      x = jax.lax.optimization_barrier(x)
      bias = norm["bias"] @ kernel + bias
      kernel = norm["scale"][:, None] * kernel
    y = x.astype(self.dtype) @ kernel.astype(self.dtype)
    return y.astype(jnp.float32) + bias[None]

  def _dense(self, key, width):
    kernel = nn.initializers.lecun_normal()(key, (width, self.num_labels))
    return {"kernel": kernel, "bias": jnp.zeros((self.num_labels,))}


def _mean(x):
  """f32[B D] -> f32[B 1], in two steps.

  Added up one by one, tens of thousands of numbers lose digits (ONNX Runtime:
  2e-5 of the spread of 6,400).
  """
  D = x.shape[1]
  parts = x.reshape(-1, D // math.gcd(D, 512), math.gcd(D, 512))
  return parts.mean(axis=2).mean(axis=1, keepdims=True)


class Attention(nn.Module):
  """Multi-head self-attention, softmax in float32.

  Attributes:
    heads: A.
    head_width: K.
    qkv_bias: whether queries, keys and values have a bias.
    project: whether a Dense follows the heads.
    dropout: rate, on the weights and on the output.
    first: only the output of so many first tokens is made: f32[B first D].
    dtype: of the matrix products.
  """

  heads: int
  head_width: int
  qkv_bias: bool = True
  project: bool = True
  dropout: float = 0.0
  first: int | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x, mask=None, *, train: bool = False):
    """x f32[B T D], mask bool[B T] of the keys -> f32[B T D]."""
    drop = nn.Dropout(self.dropout, deterministic=not train)
    qkv = nn.Dense(
      3 * self.heads * self.head_width,
      use_bias=self.qkv_bias,
      dtype=self.dtype,
      name="qkv",
    )(x)
    q, k, v = einops.rearrange(
      qkv, "B T (three A K) -> three B A T K", three=3, A=self.heads
    )
    dropped = drop if train and self.dropout else None
    q = q[:, :, : self.first] * self.head_width**-0.5
    y = _attend(q, k, v, mask, dropped)
    y = einops.rearrange(y, "B A T K -> B T (A K)")
    if not self.project:
      return y
    return drop(nn.Dense(x.shape[-1], dtype=self.dtype, name="out")(y))


def _attend(q, k, v, mask, drop):
  """Softmax of q k' over the keys of mask bool[B T], times v.

  q is [B A Q K], k and v are [B A T K].

  `drop`, if any, is applied to the weights. Otherwise large batches are taken
  row by row on a CPU, and each row's scores made anew in the backward pass.
  """

  def attend(q, k, v, mask):
    score = jnp.einsum("...QK,...TK->...QT", q, k).astype(jnp.float32)
    if mask is not None:
      # Finite, so that a row without any key stays finite too.
      score = jnp.where(mask[..., None, None, :], score, -1e30)
    weight = jax.nn.softmax(score, axis=-1).astype(v.dtype)
    weight = drop(weight) if drop else weight
    return jnp.einsum("...QT,...TK->...QK", weight, v)

  B, A, Q, _ = q.shape
  if drop or not _passes_cache(B, A * Q * k.shape[2]):
    return attend(q, k, v, mask)
  return jax.lax.map(jax.checkpoint(lambda row: attend(*row)), (q, k, v, mask))


# Numbers that a CPU's cache holds, about.
CACHE = 2**22


def _passes_cache(rows, each: int) -> bool:
  """Whether so many rows of `each` numbers are better made a few at a time.

  On a CPU they are, where they would go to memory and back between one
  operation and the next. Never while the number of rows is symbolic: that
  program is exported for other devices too.
  """
  on_cpu = jax.default_backend() == "cpu"
  return on_cpu and isinstance(rows, int) and rows * each > CACHE


def in_parts(run, module, x, mask, train: bool):
  """run(module, x, mask) -> [B T D], on a CPU for up to four rows at a time.

  Args:
    run: a method of `module`, transformer blocks whose rows do not depend on
      each other.
    module: a bound nn.Module.
    x: [B T D].
    mask: bool[B T] or None.
    train: all rows at once, since what the backward pass needs is kept anyway.
  """
  B, T, D = x.shape
  large = _passes_cache(B, 4 * T * D)  # An mlp is four times as wide.
  if train or module.is_initializing() or not large:
    return run(module, x, mask)
  few = math.gcd(B, 4)
  split = jax.tree.map(lambda a: a.reshape(-1, few, *a.shape[1:]), (x, mask))
  mapped = nn.scan(
    lambda module, _, part: (None, run(module, *part)),
    variable_broadcast="params",
    split_rngs={"params": False},
  )
  return mapped(module, None, split)[1].reshape(B, T, D)


class Block(nn.Module):
  """A transformer block: norms before (ViT) or after (BERT) each half.

  Attributes:
    heads, head_width, qkv_bias, project, dropout, first, dtype: of
      `Attention`.
    mlp: hidden width of the second half, with exact GELU.
    eps: of the LayerNorms.
    post_norm: norms after the residual sums, as in BERT.
  """

  heads: int
  head_width: int
  mlp: int
  eps: float = 1e-5
  qkv_bias: bool = True
  project: bool = True
  dropout: float = 0.0
  first: int | None = None
  post_norm: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x, mask=None, train: bool = False):
    """x f32[B T D], mask bool[B T] of the keys -> f32[B T D]."""
    norm_attention = layer_norm(self.eps, self.dtype, "norm_attention")
    norm_mlp = layer_norm(self.eps, self.dtype, "norm_mlp")
    attention = Attention(
      heads=self.heads,
      head_width=self.head_width,
      qkv_bias=self.qkv_bias,
      project=self.project,
      dropout=self.dropout,
      first=self.first,
      dtype=self.dtype,
      name="attention",
    )
    drop = nn.Dropout(self.dropout, deterministic=not train)

    def mlp(y):
      y = nn.Dense(self.mlp, dtype=self.dtype, name="mlp_in")(y)
      y = drop(nn.gelu(y, approximate=False))
      return drop(nn.Dense(x.shape[-1], dtype=self.dtype, name="mlp_out")(y))

    if self.post_norm:
      x = x[:, : self.first] + attention(x, mask, train=train)
      x = norm_attention(x)
      return norm_mlp(x + mlp(x))
    x = x[:, : self.first] + attention(norm_attention(x), mask, train=train)
    return x + mlp(norm_mlp(x))


def block(remat: bool):
  """`Block`, or one whose activations the backward pass computes again."""
  # `train` is an argument of Python, not an array.
  return nn.remat(Block, static_argnums=(3,)) if remat else Block


class Transformer(nn.Module):
  """Pre-norm blocks without bias in qkv and without a final norm.

  The output Dense of a single head as wide as its input is left out, as in
  the released code (golden `ehr_transformer__heads1_projout`).

  Attributes:
    depth: blocks.
    heads, head_width, mlp, dropout, dtype: of `Block`.
    first: of `Block`, for the last one.
    remat: of `block`.
  """

  depth: int
  heads: int
  head_width: int
  mlp: int
  dropout: float = 0.0
  first: int | None = None
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, x, mask=None, *, train: bool = False):
    """x f32[B T D], mask bool[B T] of the keys -> f32[B T D]."""
    for i in range(self.depth):
      x = block(self.remat)(
        heads=self.heads,
        head_width=self.head_width,
        mlp=self.mlp,
        qkv_bias=False,
        project=not (self.heads == 1 and self.head_width == x.shape[-1]),
        dropout=self.dropout,
        first=self.first if i == self.depth - 1 else None,
        dtype=self.dtype,
        name=f"block_{i}",
      )(x, mask, train)
    return x
