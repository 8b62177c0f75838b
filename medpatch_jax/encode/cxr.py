"""A chest film -> a token per patch (METHOD.md section 1, CXR).

Dims: B stays, S pixels a side, P pixels a side of a patch, T = 1 + (S/P)^2
tokens, D encoder width, E joint width.
"""

from typing import Any

import einops
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.encode.summary import summarise
from medpatch_jax.schema import Encoded

# Mean and standard deviation of the three channels, of pixels in [0, 1].
NORM = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(nn.Module):
  """timm's `VisionTransformer.forward_features`: class token, final norm.

  Attributes:
    patch: P.
    width: D.
    depth, heads, mlp: of the blocks (LayerNorm eps 1e-6, biased qkv).
    dtype: of the matrix products.
    remat: activations of blocks are computed again in the backward pass.
  """

  patch: int = 16
  width: int = 384
  depth: int = 12
  heads: int = 6
  mlp: int = 1536
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, pixels, train: bool = False):
    """Normalised pixels f32[B S S 3] -> tokens f32[B T D], class token first.

    Raises:
      ValueError: the patch does not divide the image.
    """
    B, S, _, _ = pixels.shape
    if S % self.patch:
      raise ValueError(
        f"image_size={S} is no multiple of patch={self.patch}; pass"
        f" {S - S % self.patch or self.patch}."
      )
    x = einops.rearrange(
      pixels, "B (h p) (w q) c -> B (h w) (p q c)", p=self.patch, q=self.patch
    )
    x = nn.Dense(self.width, dtype=self.dtype, name="embed")(x)
    normal = nn.initializers.truncated_normal(0.02)
    cls = self.param("cls", normal, (self.width,)).astype(x.dtype)
    cls = jnp.broadcast_to(cls[None, None], (B, 1, self.width))
    x = jnp.concatenate([cls, x], axis=1)
    positions = self.param("positions", normal, x.shape[1:])
    x = x + positions[None].astype(x.dtype)
    x = layers.in_parts(Backbone._blocks, self, x, None, train)
    return layers.layer_norm(1e-6, self.dtype, "norm")(x)

  def _blocks(self, x, mask):
    for i in range(self.depth):
      x = layers.block(self.remat)(
        heads=self.heads,
        head_width=self.width // self.heads,
        mlp=self.mlp,
        eps=1e-6,
        dtype=self.dtype,
        name=f"block_{i}",
      )(x, mask, False)
    return x


class ViT(nn.Module):
  """A vision transformer over a grey film; ViT-S/16 at 384 by default.

  Attributes:
    image_size: S.
    patch, width, depth, heads, mlp: of `Backbone`.
    joint_width: E.
    summary: "first" (the class token) or "mean".
    released: names of METHOD.md; image_norm and absent_tokens count. The
      released code stands a tensor of zeros, after normalisation, in for an
      absent film.
    dtype: of the matrix products.
    remat: activations of blocks are computed again in the backward pass.
  """

  image_size: int = 384
  patch: int = 16
  width: int = 384
  depth: int = 12
  heads: int = 6
  mlp: int = 1536
  joint_width: int = 512
  summary: str = "first"
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """Encodes image u8[B S S] (grey) with present bool[B].

    Returns:
      (Encoded with tokens f32[B T D], {}).

    Raises:
      ValueError: the film is not image_size pixels a side.
    """
    image = fields["image"]
    if image.shape[1:] != (self.image_size, self.image_size):
      raise ValueError(
        f"films of {image.shape[1]} x {image.shape[2]} pixels given to an"
        f" encoder of image_size={self.image_size}."
      )
    pixels = self.normalise(image)
    pixels = jnp.where(present[:, None, None, None], pixels, 0.0)
    tokens = Backbone(
      patch=self.patch,
      width=self.width,
      depth=self.depth,
      heads=self.heads,
      mlp=self.mlp,
      dtype=self.dtype,
      remat=self.remat,
      name="backbone",
    )(pixels, train).astype(jnp.float32)
    mask = jnp.broadcast_to(present[:, None], tokens.shape[:2])
    if "absent_tokens" in self.released:
      mask = jnp.ones_like(mask)
    tokens = jnp.where(mask[:, :, None], tokens, 0.0)
    project = nn.Dense(self.joint_width, dtype=self.dtype, name="project")
    summary = summarise(tokens, mask, project, self.summary)
    return Encoded(tokens=tokens, mask=mask, summary=summary), {}

  def normalise(self, image):
    """Grey u8[B S S] -> f32[B S S 3], as the pretrained weights expect."""
    mean, std = IMAGENET if "image_norm" in self.released else NORM
    mean, std = (jnp.asarray(v)[None, None, None] for v in (mean, std))
    return (image[..., None].astype(jnp.float32) / 255.0 - mean) / std
