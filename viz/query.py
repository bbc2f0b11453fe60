"""The maps of a view's query: of a pixel, a rectangle, a painted region or a word; as rows, columns, or minus the mean.

    maps = Maps(trace)
    maps.heads(Pixel((0.5, 0.3)), "mid_block.attentions.0", 12)     # (H, h, w)

Python, the page's plots and the page's server all take their maps from here. `viz/web/core/query.js` and
`viz/web/core/attention.js` compute the same in the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Condition
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from cachetools import LRUCache, cachedmethod
from cachetools.keys import methodkey

from viz.areas import cell_of, shares
from viz.attention import RowSums
from viz.checkpoint import checkpoint
from viz.layer import Branch, Grid, Layer
from viz.mean_map import relative_to_mean
from viz.view import (
    DIFFERENCE,
    Area,
    Bars,
    Mode,
    Pixel,
    Query,
    Reading,
    View,
    ViewError,
    WordQuery,
)
from viz.words import Word, queries_of_keys, words_of_layer

if TYPE_CHECKING:
    from viz.trace import Trace

CACHE_BYTES = 256_000_000  # of row sums; Stable Diffusion's largest layer needs 262 kB a step


@dataclass(frozen=True)
class _Way:
    """How a query is asked; see `Maps.heads`."""

    mode: Mode
    special: bool
    reading: Reading


@dataclass(frozen=True)
class Shares:
    """What a place spends on the words of a layer.

    Attributes:
        words: of the layer.
        shares: (W,) float32, 0 to 1; of a difference, -1 to 1.
        layers: the layers whose heads were averaged.
    """

    words: tuple[Word, ...]
    shares: np.ndarray
    layers: tuple[str, ...]


class Maps:
    """The maps of one trace. Caches the sums that columns and mean rows need; threads may share it.

    `layers` are those with pixels or words among their keys, in the order of the trace.

    Args:
        cache_bytes: limit on the cached sums; the least recently used are dropped first.
    """

    def __init__(self, trace: Trace, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.trace = trace
        self.layers: list[Layer] = [layer for layer in trace if layer.kind == "self" or words_of_layer(layer, None)]
        self.cache: LRUCache = LRUCache(cache_bytes, getsizeof=lambda sums: sums.log_sums.nbytes + sums.mean_row.nbytes)
        self._computing = Condition()

    @property
    def pixel_layers(self) -> list[Layer]:
        """The layers in which pixels look at pixels."""
        return [layer for layer in self.layers if layer.kind == "self"]

    def layers_for(self, query: Query, *, reading: Reading = "spent", branch: Branch | None = None) -> list[Layer]:
        """The layers that have a map of a query.

        Raises:
            ViewError: for a branch that the trace lacks.
        """
        parts = self._parts(branch)
        return [layer for layer in self.layers if all(not self._why_not(query, layer, reading, part) for part in parts)]

    def heads(
        self,
        query: Query,
        layer: str,
        step: int,
        *,
        mode: Mode = "row",
        special: bool = False,
        reading: Reading = "spent",
        branch: Branch | None = None,
    ) -> np.ndarray:
        """The maps of a query, averaged over its cells.

        Args:
            layer, step: one of `layers` and one of its steps, both recorded (KeyError, as for `Trace.rows`).
            mode: of a place: "row", what the query looks at: every head's map sums to 1; or "column", who looks at it:
                the sum is what an average cell of the query receives.
            special: rows of a place minus the mean row of all pixels; these sum to 0. No effect on columns and words.
            reading: of a word: "spent", the share that every pixel spends on it; "used", the same divided by its mean;
                or "looks", what the word looks at, the mean of its tokens' rows.
            branch: the last by default; "difference", the last of two minus the first.

        Returns:
            (H, h, w) float32, on `map_grid`.

        Raises:
            ViewError: if the layer has no map of this query, or the trace no such branch; the message says why.
        """
        parts = self._parts(branch)
        way = _Way(mode, special, reading)
        maps = [self._maps(query, layer, step, None, part, way) for part in parts]
        return (maps[0] if len(maps) == 1 else maps[0] - maps[1]).numpy()

    def one(
        self,
        query: Query,
        layer: str,
        step: int,
        *,
        head: int = -1,
        mode: Mode = "row",
        special: bool = False,
        reading: Reading = "spent",
        branch: Branch | None = None,
    ) -> np.ndarray:
        """One head's map, (h, w) float32 in times uniform: 1 is what chance would give.

        Chance is 1 over the number of keys that are pixels; for what is spent on a word, the word's part of all keys.
        Where a word is used is relative to its own mean. A difference is that of the two branches' numbers.

        Args:
            head: -1 for the mean of all heads; the last head for a number beyond it.

        Other arguments and errors as for `heads`.
        """
        spec = self.trace.layers[layer]
        chosen = None if head < 0 else min(head, spec.heads - 1)
        way = _Way(mode, special, reading)
        numbers = [self._times_uniform(query, spec, step, chosen, part, way) for part in self._parts(branch)]
        return (numbers[0] if len(numbers) == 1 else numbers[0] - numbers[1]).numpy()

    def of_view(self, view: View) -> np.ndarray:
        """The chosen map of a view, (h, w) in times uniform."""
        return self.one(
            view.query,
            view.layer,
            view.step,
            head=view.head,
            mode=view.mode or "row",
            special=bool(view.special),
            reading=view.reading or "spent",
            branch=view.branch,
        )

    def key_shares(
        self, query: Query, layer: str, step: int, *, head: int = -1, branch: Branch | None = None
    ) -> np.ndarray:
        """What a place spends on every key that belongs to a word, in the order of `words_of_layer`: (T,) float32.

        Arguments and errors as for `one`. A difference needs branches whose keys are the same words (ViewError).
        """
        trace, parts = self.trace, self._parts(branch)
        if len({trace.words_of(layer, part) for part in parts}) > 1:
            raise ViewError("The two branches have different captions; what is spent on their keys has no difference.")
        found = [self._spent(trace.key_shares, query, layer, step, head, part) for part in parts]
        return found[0] if len(found) == 1 else found[0] - found[1]

    def shares(
        self,
        query: Query,
        layer: str,
        step: int,
        *,
        head: int = -1,
        bars: Bars = "layer",
        branch: Branch | None = None,
    ) -> Shares:
        """What a place spends on each word, as the bars under the words show it.

        Args:
            bars: "layer", in that layer and head; or "grid", the mean of all heads of all layers on its grid that look
                at the same words, without those that have a gap at the step.

        Other arguments and errors as for `one`. A difference is that of the words of the last branch; NaN for words
        that the first one lacks.
        """
        trace, parts = self.trace, self._parts(branch)
        words, names = trace.words_of(layer, parts[0]), [layer]
        if bars == "grid":
            head = -1
            on_grid = [each.name for each in self.layers if each.grid == trace.layers[layer].grid]
            own = [trace.words_of(layer, part) for part in parts]
            alike = [name for name in on_grid if [trace.words_of(name, part) for part in parts] == own]
            names = [name for name in alike if step not in trace.gaps.get(name, {})] or names
        weights = [trace.layers[name].heads for name in names] if bars == "grid" else None
        spent = []
        for part in parts:
            each = [self._spent(trace.word_shares, query, name, step, head, part) for name in names]
            keys = [(word.text, word.kind, word.nth, word.encoder) for word in trace.words_of(layer, part)]
            spent.append(dict(zip(keys, np.average(each, 0, weights), strict=True)))
        numbers = np.array(list(spent[0].values()), np.float32)
        if len(spent) > 1:
            numbers -= np.array([spent[1].get(word, np.nan) for word in spent[0]], np.float32)
        return Shares(words, numbers, tuple(names))

    def _spent(
        self, ask: Callable[..., torch.Tensor], query: Query, name: str, step: int, head: int, branch: Branch
    ) -> np.ndarray:
        """What `Trace.word_shares` or `Trace.key_shares` says of a place, of one head or as the mean of all."""
        layer = self.trace.layers[name]
        if isinstance(query, WordQuery) or not self.trace.words_of(name, branch):
            raise ViewError(f"Layer “{name}” has no shares of words for this query.")
        weights = cell_of(query.point, layer.grid) if isinstance(query, Pixel) else _weights(query, layer.grid)
        found = ask(
            name, query=weights, step=step, head=None if head < 0 else min(head, layer.heads - 1), branch=branch
        )
        return (found.mean(0) if head < 0 else found).numpy()

    def _times_uniform(
        self, query: Query, layer: Layer, step: int, head: int | None, branch: Branch, way: _Way
    ) -> torch.Tensor:
        """(h, w) of one head, or of the mean of all, where 1 is what chance would give."""
        is_used = isinstance(query, WordQuery) and way.reading == "used"
        plain = (
            replace(way, reading="spent") if is_used else way
        )  # the mean of all heads first, then relative to its own
        maps = self._maps(query, layer.name, step, head, branch, plain)
        chosen = maps.mean(0) if head is None else maps
        if not isinstance(query, WordQuery) or way.reading == "looks":
            return chosen * (layer.pixel_keys.stop - layer.pixel_keys.start)
        if is_used:
            return relative_to_mean(chosen)
        return chosen * (layer.key_count / len(self._word(query, layer.name, branch).tokens))

    def _maps(self, query: Query, name: str, step: int, head: int | None, branch: Branch, way: _Way) -> torch.Tensor:
        """(H, h, w), or (h, w) of one head."""
        checkpoint()
        if why := self._why_not(query, self.trace.layers[name], way.reading, branch):
            raise ViewError(why)
        if isinstance(query, WordQuery):
            return self._word_maps(query, name, step, head, branch, way.reading)
        trace, heads = self.trace, slice(None) if head is None else head
        where: dict[str, Any] = {"step": step, "head": head, "branch": branch}
        grid = query_grid(trace.layers[name], way.mode)
        if way.mode == "column":
            weights, log_sums = _weights(query, grid), self._sums(name, step, branch).log_sums[heads]
            return trace.region_columns(name, weights=weights, log_sums=log_sums, **where)
        if isinstance(query, Pixel):
            maps = trace.rows(name, query=cell_of(query.point, grid), **where)
        else:
            maps = trace.region_rows(name, weights=_weights(query, grid), **where)
        return maps - self._sums(name, step, branch).mean_row[heads] if way.special else maps

    def _word_maps(
        self, query: WordQuery, name: str, step: int, head: int | None, branch: Branch, reading: Reading
    ) -> torch.Tensor:
        word = self._word(query, name, branch)
        where: dict[str, Any] = {"step": step, "head": head, "branch": branch}
        if reading == "looks":
            return self.trace.rows(name, query=word, **where)
        log_sums = None
        if self.trace.layers[name].kind == "self":  # many keys; words alone are few
            log_sums = self._sums(name, step, branch).log_sums[slice(None) if head is None else head]
        return self.trace.word_map(name, word, relative=reading == "used", log_sums=log_sums, **where)

    def _word(self, query: WordQuery, name: str, branch: Branch) -> Word:
        """The word of a layer that a query names; ViewError if it looks at none such."""
        for word in self.trace.words_of(name, branch):
            if (word.text, word.nth, word.kind, word.encoder) == (query.text, query.nth, query.of, query.encoder):
                return word
        raise ViewError(f"Layer “{name}” looks at no such word as “{query.text}” in “{branch}”.")

    def _why_not(self, query: Query, layer: Layer, reading: Reading, branch: Branch) -> str:
        """Why a layer has no map of a query; empty if it has."""
        if not isinstance(query, WordQuery):
            return "" if layer.kind == "self" else f"In layer “{layer.name}” pixels look at words only, not at pixels."
        try:
            word = self._word(query, layer.name, branch)
        except ViewError as error:
            return str(error)
        own = queries_of_keys(layer) if layer.kind == "self" else {}
        if reading == "looks" and not all(key in own for key in self.trace.keys_of(layer.name, word, branch)):
            return f"In layer “{layer.name}” the word “{query.text}” is looked at, but looks at nothing."
        return ""

    def _parts(self, branch: Branch | None) -> tuple[Branch, ...]:
        """The branch to show; or two, the second of which is subtracted."""
        branches = self.trace.branches
        if branch is None or branch in branches:
            return (branch or branches[-1],)
        if branch != DIFFERENCE:
            raise ViewError(f"This trace has no branch “{branch[:60]}”; it has {', '.join(branches)}.")
        if len(branches) != 2:
            raise ViewError(f"A difference needs two recorded branches; this trace has {len(branches)}.")
        return branches[1], branches[0]

    def has_sums(self, layer: str, step: int, branch: Branch) -> bool:
        """Whether the sums over the rows of a layer at a step, of one branch, are cached."""
        return methodkey(self, layer, step, branch) in self.cache

    @cachedmethod(lambda self: self.cache, condition=lambda self: self._computing)
    def _sums(self, name: str, step: int, branch: Branch) -> RowSums:
        return self.trace.row_sums(name, step=step, branch=branch)


def query_grid(layer: Layer, mode: Mode) -> Grid:
    """The grid of a self-attention layer on which a query chooses cells: of its queries for rows, keys for columns."""
    return layer.key_grid if mode == "column" and layer.key_grid else layer.grid


def map_grid(layer: Layer, mode: Mode, query: Query | None = None, reading: Reading = "spent") -> Grid:
    """The grid of a layer's maps: of its keys for rows, of its queries for columns.

    Of a word, what pixels spend on it and where it is used are columns, and what it looks at is a row.
    """
    if isinstance(query, WordQuery):
        mode = "row" if reading == "looks" else "column"
    return layer.grid if mode == "column" or not layer.key_grid else layer.key_grid


def _weights(query: Area, grid: Grid) -> torch.Tensor:
    return torch.from_numpy(shares(query, grid))
