"""Captions as vectors: a closed vocabulary, and the small encoder that turns its words into conditioning.

Two model_index.json files name this module, so it must not be moved or renamed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from models.attributes import ATTRIBUTES

# Index 0 pads. An empty caption is all padding; it is also the unconditional half of guidance.
PADDING = ""
VOCABULARY: tuple[str, ...] = (
    PADDING,
    *("a", "an", "and", "with", "on", "monster", "eye", "eyes", "mouth", "background", "bare", "head"),
    *dict.fromkeys(value for values in ATTRIBUTES.values() for value in values if value != "none"),
)


@dataclass(frozen=True)
class ParsedCaption:
    """The words of a caption: those of the vocabulary, in order, and the unknown ones."""

    words: tuple[str, ...]
    unknown: dict[str, list[str]]  # {word: up to three similar words of the vocabulary}

    def warnings(self) -> list[str]:
        """One sentence for each word that is ignored."""
        return [
            f"The model does not know the word {word!r}, so it was ignored"
            + (f"; close ones are {', '.join(map(repr, close))}." if close else ".")
            for word, close in self.unknown.items()
        ]


class CaptionEncoder(ModelMixin, ConfigMixin):
    """Learned word vectors, each mixed with its neighbours': "eyes" knows that it is "two yellow eyes".

    The mixing is a convolution over five words, not attention over all of them: a word's vector describes its own
    phrase only, so that what the U-Net's cross-attention reads from a word can be called that word's meaning.
    """

    @register_to_config
    def __init__(self, vocabulary: Sequence[str] = VOCABULARY, width: int = 64, length: int = 24) -> None:
        super().__init__()
        self.index = {word: index for index, word in enumerate(vocabulary)}
        self.embedding = nn.Embedding(len(vocabulary), width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        self.neighbours = nn.Conv1d(width, 2 * width, kernel_size=5, padding=2)
        self.mix = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def read(self, caption: str) -> ParsedCaption:
        """Split a caption into the words of the vocabulary and the unknown words.

        Raises:
            ValueError: when the caption has more words of the vocabulary than the encoder reads.
        """
        words = re.findall(r"\w+", caption.lower())
        known = tuple(word for word in words if word in self.index)
        if len(known) > self.config.length:
            raise ValueError(f"the caption has {len(known)} words; the model reads at most {self.config.length}")
        vocabulary = [word for word in self.index if word != PADDING]
        unknown = {
            word: difflib.get_close_matches(word, vocabulary) for word in dict.fromkeys(words) if word not in self.index
        }
        return ParsedCaption(known, unknown)

    def ids(self, captions: Sequence[str]) -> torch.Tensor:
        """(B, length) int64 word indices, padded with 0."""
        rows = [[self.index[word] for word in self.read(caption).words] for caption in captions]
        return torch.tensor([row + [0] * (self.config.length - len(row)) for row in rows])

    def spell(self, caption: str) -> tuple[list[int], list[str], list[tuple[str, str, tuple[int, ...]]]]:
        """What each index of `ids` stands for.

        Returns:
            (the ids of a caption, their words in the vocabulary, the words as the caption writes them). Each of the
            last is (text, "word" or "padding", its indices among the ids); unknown words are not there.
        """
        ids = self.ids([caption])[0].tolist()
        written = [word for word in re.findall(r"\w+", caption) if word.lower() in self.index]
        words: list[tuple[str, str, tuple[int, ...]]] = [(text, "word", (index,)) for index, text in enumerate(written)]
        if padding := tuple(range(len(written), len(ids))):
            words.append(("padding", "padding", padding))
        return ids, self._texts(ids), words

    def decode(self, ids: Sequence[int]) -> str:
        """The words of a row of `ids`, without their padding."""
        return " ".join(self._texts(ids)).rstrip()

    def _texts(self, ids: Sequence[int]) -> list[str]:
        vocabulary = list(self.index)
        return [vocabulary[index] for index in ids]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, length) word indices to (B, length, width) conditioning."""
        words = self.embedding(ids) + self.position  # (B, L, C)
        hidden = nn.functional.gelu(self.neighbours(words.transpose(1, 2))).transpose(1, 2)  # (B, L, 2C)
        return self.norm(words + self.mix(hidden))
