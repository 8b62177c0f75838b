"""HEALNet: one latent array reads each modality that exists, again and again.

Hemker, Simidjievski and Jamnik, NeurIPS 2024 (arXiv 2311.09115), section 3,
as in its repository: in every layer the latents attend to each modality in
turn, each time followed by a gated feed-forward, self-attention and another
feed-forward; the last two are shared by the modalities of a layer. Attention
logits are doubled (temperature 0.5), a LeakyReLU follows the attention's
output projection, feed-forwards are 8d wide and gated by SELU. METHOD.md
section 9. On encoder tokens this is the MedPatch paper's hybrid (C.6); with
the modules of raw.py for encoders it reads raw input.

An absent modality is skipped altogether. (Released, MedPatch's copy: the
self-attention of its turn still runs; `idle_turns`.) Positions run from -1
at the first token to 1 at a stay's own last, not the batch's, so that batch
company changes nothing.

Dims: B stays, T tokens, D token width, N latents, L latent width, A heads, K
head width, C labels.
"""

import math
from typing import Any

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding

# Of the Fourier features: frequencies linspace(1, MAX_FREQUENCY / 2, bands) * pi.
MAX_FREQUENCY = 10.0


def fourier(tokens, mask, bands: int):
  """Appends where each token stands: f32[B T D] -> f32[B T D+2*bands+1].

  Sine, then cosine of every frequency, then the position itself.
  """
  place = jnp.arange(mask.shape[1])
  last = jnp.where(mask, place[None], 0).max(axis=1, keepdims=True)
  position = 2.0 * place[None] / jnp.maximum(last, 1) - 1.0
  # Past the stay's last token nothing is read; keep it finite and small.
  position = jnp.minimum(position, 1.0)[:, :, None]
  scale = jnp.linspace(1.0, MAX_FREQUENCY / 2, bands, dtype=jnp.float32)
  angle = position * scale[None, None] * math.pi
  parts = (tokens, jnp.sin(angle), jnp.cos(angle), position)
  return jnp.concatenate(parts, axis=-1)


class Attention(nn.Module):
  """Latents attend to a context; logits doubled, LeakyReLU at the end.

  Attributes:
    heads: A.
    head_width: K.
    dtype: of the matrix products.
  """

  heads: int = 8
  head_width: int = 64
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x, context=None, mask=None):
    """x f32[B N L] attends to context f32[B T D] where mask bool[B T].

    Without a context it attends to itself.

    Returns:
      f32[B N L].
    """
    inner = self.heads * self.head_width
    L = x.shape[-1]
    x = layers.layer_norm(dtype=self.dtype, name="norm")(x)
    if context is None:
      context = x
    else:
      norm = layers.layer_norm(dtype=self.dtype, name="norm_context")
      context = norm(context)
    dense = dict(use_bias=False, dtype=self.dtype)
    q = nn.Dense(inner, name="query", **dense)(x)
    kv = nn.Dense(2 * inner, name="key_value", **dense)(context)
    q = einops.rearrange(q, "B N (A K) -> B A N K", A=self.heads)
    k, v = einops.rearrange(
      kv, "B T (two A K) -> two B A T K", two=2, A=self.heads
    )
    score = jnp.einsum("BANK,BATK->BANT", q, k).astype(jnp.float32)
    score = 2.0 * score * self.head_width**-0.5
    if mask is not None:
      score = jnp.where(mask[:, None, None], score, -1e30)
    weight = jax.nn.softmax(score, axis=-1).astype(self.dtype)
    y = jnp.einsum("BANT,BATK->BANK", weight, v)
    y = einops.rearrange(y, "B A N K -> B N (A K)")
    y = nn.Dense(L, dtype=self.dtype, name="out")(y)
    return nn.leaky_relu(y, 0.01).astype(jnp.float32)


class FeedForward(nn.Module):
  """LayerNorm, Dense to 8L, half of it gated by SELU of the other, Dense."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x):
    """x f32[B N L] -> f32[B N L]."""
    L = x.shape[-1]
    x = layers.layer_norm(dtype=self.dtype, name="norm")(x)
    x = nn.Dense(8 * L, dtype=self.dtype, name="in")(x)
    x, gate = jnp.split(x, 2, axis=-1)
    x = nn.Dense(L, dtype=self.dtype, name="out")(x * nn.selu(gate))
    return x.astype(jnp.float32)


class Core(nn.Module):
  """The latent array and its layers, without encoders.

  Attributes:
    num_labels: C.
    depth: layers.
    latents, latent_width: N, L.
    heads, head_width: of both attentions.
    bands: of the Fourier features.
    idle_turns: self-attention runs in an absent modality's turn too.
    dtype: of the matrix products.
  """

  num_labels: int
  depth: int = 3
  latents: int = 128
  latent_width: int = 128
  heads: int = 8
  head_width: int = 64
  bands: int = 4
  idle_turns: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, tokens, mask, present):
    """Fuses tokens {name: f32[B T D]} under mask {name: bool[B T]}.

    Args:
      tokens: in the order in which they are read.
      mask: real tokens.
      present: {name: bool[B]}.

    Returns:
      (logits f32[B C], latents f32[B N L]).
    """
    tokens = {
      m: fourier(x, mask[m], self.bands).astype(self.dtype)
      for m, x in tokens.items()
    }
    B = next(iter(present.values())).shape[0]
    shape = (self.latents, self.latent_width)
    start = self.param("latents", nn.initializers.normal(1.0), shape)
    x = jnp.broadcast_to(start[None], (B, *shape))
    heads = dict(heads=self.heads, head_width=self.head_width)
    for i in range(self.depth):
      attend = Attention(**heads, dtype=self.dtype, name=f"self_{i}")
      think = FeedForward(self.dtype, name=f"self_forward_{i}")
      for m in tokens:
        read = Attention(**heads, dtype=self.dtype, name=f"read_{m}_{i}")
        digest = FeedForward(self.dtype, name=f"read_forward_{m}_{i}")
        y = x + read(x, tokens[m], mask[m])
        y = y + digest(y)
        here = present[m][:, None, None]
        if self.idle_turns:
          x = y = jnp.where(here, y, x)
        y = y + attend(y)
        y = y + think(y)
        x = y if self.idle_turns else jnp.where(here, y, x)
    classify = layers.Classifier(self.num_labels, self.dtype, name="classifier")
    return classify(x.mean(axis=1)), x


class HealNet(nn.Module):
  """HEALNet over encoders' tokens.

  Attributes:
    modalities, encoders, num_labels, dtype: as in `early.Early`.
    depth, latents, latent_width, heads, head_width, bands, idle_turns: of
      `Core`.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  depth: int = 3
  latents: int = 128
  latent_width: int = 128
  heads: int = 8
  head_width: int = 64
  bands: int = 4
  idle_turns: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"healnet": f32[B C]}, {"latents": f32[B N L], ..})."""
    encoding.check(self.modalities, self.encoders, "healnet")
    encoded, present = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    core = Core(
      num_labels=self.num_labels,
      depth=self.depth,
      latents=self.latents,
      latent_width=self.latent_width,
      heads=self.heads,
      head_width=self.head_width,
      bands=self.bands,
      idle_turns=self.idle_turns,
      dtype=self.dtype,
      name="core",
    )
    tokens = {m: encoded[m].tokens for m in self.modalities}
    masks = {m: encoded[m].mask for m in self.modalities}
    # A note without a piece is as good as none.
    present = {m: present[m] & masks[m].any(axis=1) for m in present}
    logits, latents = core(tokens, masks, present)
    return {"healnet": logits}, {"latents": latents, "encoded": encoded}
