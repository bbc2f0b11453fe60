"""The papers' attention blocks, written to be read; each can be copied into a notebook by itself."""

from models.classic.classifier import AttentionClassifier
from models.classic.convolution import QuadraticAttention
from models.classic.ddpm import AttnBlock
from models.classic.multihead import CrossAttentionBlock, MultiheadBlock, ResidualBlock
from models.classic.relative import RelativeAttention
from models.classic.sagan import SelfAttention2d
from models.classic.unet import ClassicUNet

__all__ = [
    "AttentionClassifier",
    "AttnBlock",
    "ClassicUNet",
    "CrossAttentionBlock",
    "MultiheadBlock",
    "QuadraticAttention",
    "RelativeAttention",
    "ResidualBlock",
    "SelfAttention2d",
]
