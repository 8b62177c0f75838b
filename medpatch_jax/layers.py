"""Layers shared by encoders, fusers and baselines.

Dims: B rows, T tokens, D width, A heads, K head width, C labels.
"""

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

  The norm's scale and bias are applied to the Dense's kernel instead of the
  input: the same function, but the input of the joint module is 51,200 wide
  with 16 rows, and sums down its columns miss the cache at every step.

  Attributes:
    num_labels: C.
    dtype: of the matrix product; parameters and logits stay float32.
  """

  num_labels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x):
    """x f32[B D] -> logits f32[B C]."""
    D = x.shape[-1]
    norm = self.param(
      "norm", lambda _: {"scale": jnp.ones((D,)), "bias": jnp.zeros((D,))}
    )
    dense = self.param("dense", self._dense, D)
    x = x.astype(jnp.float32)
    x = x - x.mean(axis=1, keepdims=True)
    x = x * jax.lax.rsqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)
    # Computed once, rather than anew inside every product that reads it.
    x = jax.lax.optimization_barrier(x).astype(self.dtype)
    kernel = norm["scale"][:, None] * dense["kernel"]
    bias = norm["bias"] @ dense["kernel"] + dense["bias"]
    y = x @ kernel.astype(self.dtype)
    return y.astype(jnp.float32) + bias[None]

  def _dense(self, key, width):
    kernel = nn.initializers.lecun_normal()(key, (width, self.num_labels))
    return {"kernel": kernel, "bias": jnp.zeros((self.num_labels,))}


class Attention(nn.Module):
  """Multi-head self-attention, softmax in float32.

  Attributes:
    heads: A.
    head_width: K.
    qkv_bias: whether queries, keys and values have a bias.
    project: whether a Dense follows the heads.
    dropout: rate, on the weights and on the output.
    dtype: of the matrix products.
  """

  heads: int
  head_width: int
  qkv_bias: bool = True
  project: bool = True
  dropout: float = 0.0
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
    y = _attend(q * self.head_width**-0.5, k, v, mask, drop)
    y = einops.rearrange(y, "B A T K -> B T (A K)")
    if not self.project:
      return y
    return drop(nn.Dense(x.shape[-1], dtype=self.dtype, name="out")(y))


def _attend(q, k, v, mask, drop):
  """Queries, keys, values [B A T K], mask bool[B T] of the keys -> [B A T K].

  `drop` is applied to the weights.
  """

  def attend(q, k, v, mask):
    score = jnp.einsum("...QK,...TK->...QT", q, k).astype(jnp.float32)
    if mask is not None:
      # Finite, so that a row without any key stays finite too.
      score = jnp.where(mask[..., None, None, :], score, -1e30)
    weight = drop(jax.nn.softmax(score, axis=-1).astype(q.dtype))
    return jnp.einsum("...QT,...TK->...QK", weight, v)

  B, A, T, _ = q.shape
  if jax.default_backend() == "cpu":
    one = jax.checkpoint(lambda row: attend(*row))
    return jax.lax.map(one, (q, k, v, mask))
  return attend(q, k, v, mask)


class Block(nn.Module):
  """A transformer block: norms before (ViT) or after (BERT) each half.

  Attributes:
    heads, head_width, qkv_bias, project, dropout, dtype: of `Attention`.
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
      dtype=self.dtype,
      name="attention",
    )
    drop = nn.Dropout(self.dropout, deterministic=not train)

    def mlp(y):
      y = nn.Dense(self.mlp, dtype=self.dtype, name="mlp_in")(y)
      y = drop(nn.gelu(y, approximate=False))
      return drop(nn.Dense(x.shape[-1], dtype=self.dtype, name="mlp_out")(y))

    if self.post_norm:
      x = norm_attention(x + attention(x, mask, train=train))
      return norm_mlp(x + mlp(x))
    x = x + attention(norm_attention(x), mask, train=train)
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
    remat: of `block`.
  """

  depth: int
  heads: int
  head_width: int
  mlp: int
  dropout: float = 0.0
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
        dtype=self.dtype,
        name=f"block_{i}",
      )(x, mask, train)
    return x
