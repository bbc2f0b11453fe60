"""The sizes of a pipeline's pictures and samples: how they relate, and which can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers import ModelMixin, UNet2DConditionModel

from models.protocol import Pipeline

DEFAULT_SIDE = 64  # of the sample, for U-Nets whose configuration names none


@dataclass(frozen=True)
class Geometry:
    """The sizes of one pipeline. All sizes are (height, width).

    Attributes:
        factor: how many pixels of the picture one cell of the sample is wide; 1 where the network works on pixels.
        multiple: what height and width of the picture must be multiples of.
        own_size: the size of picture that the pipeline was made to draw.
    """

    factor: int
    multiple: int
    own_size: tuple[int, int]

    def sample_size(self, size: tuple[int, int] | None = None) -> tuple[int, int]:
        """The size of the network's sample for a picture of `size`, by default the pipeline's own.

        Raises:
            ValueError: for sides that are not multiples of `multiple`.
        """
        height, width = size or self.own_size
        if any(side < self.multiple or side % self.multiple for side in (height, width)):
            raise ValueError(
                f"height and width must be multiples of {self.multiple} for this model; {height}×{width} isn't"
            )
        return height // self.factor, width // self.factor


def geometry_of(pipeline: Pipeline) -> Geometry:
    """Work out a pipeline's geometry from the configurations of its U-Net and its autoencoder, if it has one."""
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    factor = 1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1)
    # Conditional U-Nets pad odd sides on the way up; unconditional ones must be able to halve them at every level.
    pads = isinstance(pipeline.unet, UNet2DConditionModel) and factor > 1
    config = pipeline.unet.config
    levels = len(config.get("block_out_channels") or config["channels"])  # diffusers' U-Nets; models.classic's
    halvings = 0 if pads else levels - 1
    height, width = sample_size_of(pipeline.unet)
    return Geometry(factor, factor * 2**halvings, (height * factor, width * factor))


def sample_size_of(unet: ModelMixin) -> tuple[int, int]:
    """The size of the sample that a U-Net was made for."""
    size = unet.config.sample_size or DEFAULT_SIDE
    return (size, size) if isinstance(size, int) else tuple(size)
