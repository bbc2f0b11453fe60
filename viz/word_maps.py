"""Words in a trace: what pixels spend on a word, where it is used, what it looks at, and means over layers and steps.

A word's weight is the sum of its tokens'. Two readings of a word's column are kept apart: what each pixel *spends* on
the word, which over all keys sums to 1 for every pixel; and where the word is *used*, the same relative to the column's
own mean, so that words with large and small weights can be compared.

These are not DAAM's heat maps (`viz.daam`), which average over all steps, layers and heads, upscaled bicubically.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, MutableMapping

import torch

from viz.asking import positions, require_all
from viz.attention import (
    compute_key_columns,
    compute_mean_of_rows,
    compute_rows_of,
    query_of,
    shares_of_cells,
)
from viz.layer import Branch, Grid, Key, Layer
from viz.mean_map import MeanMap, relative_to_mean, resized
from viz.words import Caption, Word, find_word, queries_of_keys, words_of_layer

Heads = Collection[int] | Mapping[str, Collection[int]]  # of every layer, or {layer: its heads}


class WordMaps:
    """The methods of `viz.trace.Trace` that words take part in."""

    layers: dict[str, Layer]
    timesteps: dict[int, float | None]
    branches: tuple[Branch, ...]
    skipped: dict[str, str]
    words: dict[Branch, Caption]
    gaps: dict[str, dict[int, str]]
    queries: MutableMapping[Key, torch.Tensor]
    keys: MutableMapping[Key, torch.Tensor]
    kept_queries: dict[str, tuple[int, ...]]

    def words_of(self, layer: str, branch: Branch | None = None) -> tuple[Word, ...]:
        """The words that a layer looks at, in the order of its keys' encodings; empty for self-attention.

        Where no caption is known for a key, it is a word of its own, numbered from "1".

        Raises:
            KeyError: for a layer or branch that was not recorded.
        """
        return tuple(word for _, word in self._keyed_words(*self._place(layer, branch)))

    def word_map(
        self,
        layer: str,
        word: str | Word,
        *,
        step: int,
        head: int | None = None,
        branch: Branch | None = None,
        relative: bool = False,
        log_sums: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What each pixel spends on a word: the sum of the columns of its tokens.

        One layer and step, all heads, nothing averaged and nothing resized: unlike DAAM's heat maps (`viz.daam`), which
        also take the mean of a word's tokens and not their sum.

        Args:
            word: its text, the first of several; or a `Word` of `words_of`, of `trace.words` or of its `find`.
            relative: divide every head's map by its own mean: where the word is used. A map that is 0 everywhere
                becomes 1.
            log_sums: `row_sums(…).log_sums` of the same heads, if you have them.

        Returns:
            (H, h, w) float32 on the grid of the queries, without H if `head` is given.

        Raises:
            KeyError: for a word that the layer does not look at, naming the closest; else as for `rows`.
        """
        key, spec = self._find(layer, step, branch)
        tokens = self._keys_of(spec, key[0], word)
        maps = compute_key_columns(spec, *self._numbers(key, spec, head), tokens, log_sums).sum(0)
        require_finite(maps, key)
        return relative_to_mean(maps) if relative else maps

    def token_maps(
        self, layer: str, word: str | Word, *, step: int, head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """As `word_map`, of every token of a word: (T, H, h, w), whose sum over T is the word's map."""
        key, spec = self._find(layer, step, branch)
        maps = compute_key_columns(spec, *self._numbers(key, spec, head), self._keys_of(spec, key[0], word))
        require_finite(maps, key)
        return maps

    def word_shares(
        self,
        layer: str,
        *,
        query: tuple[int, int] | torch.Tensor | str | Word,
        step: int,
        head: int | None = None,
        branch: Branch | None = None,
    ) -> torch.Tensor:
        """What a pixel spends on each word of a layer, (H, W) float32 in the order of `words_of`, without H if `head`.

        They sum to 1 in cross-attention whose keys are all words; pixels and registers take the rest elsewhere.

        Args:
            query: (row, column) of the pixel on the grid of the layer's queries; or (h, w) weights on that grid, for
                the mean of a region's pixels; or a word, as for `rows`.

        Raises:
            ValueError: for weights that are not on the grid, negative or all zero; else as for `rows`.
        """
        key, spec = self._find(layer, step, branch)
        row = self._whole_row(key, spec, head, query)
        words = [keys for keys, _ in self._keyed_words(spec, key[0])]
        return torch.stack([row[..., keys].sum(-1) for keys in words], -1) if words else row[..., :0]

    def key_shares(
        self,
        layer: str,
        *,
        query: tuple[int, int] | torch.Tensor | str | Word,
        step: int,
        head: int | None = None,
        branch: Branch | None = None,
    ) -> torch.Tensor:
        """As `word_shares`, of every single key that belongs to a word, in the order of `words_of_layer`: (H, T)."""
        key, spec = self._find(layer, step, branch)
        found = words_of_layer(spec, self.words.get(key[0]))
        keys = [first + token for first, encoding in found for token in range(len(encoding.tokens))]
        return self._whole_row(key, spec, head, query)[..., keys]

    def word_matrix(
        self, layer: str, *, step: int, head: int | None = None, branch: Branch | None = None
    ) -> torch.Tensor:
        """What each word spends on each word, in joint attention: (H, W, W) float32, without H if `head` is given.

        Rows are the words that look, the mean of their tokens' rows; columns the words they look at, the sum over
        their tokens; both in the order of `words_of`. The row of a word that is no query is NaN. A row sums to 1 minus
        what the word spends on pixels and registers.

        Raises:
            ValueError: if no word is a query of the layer; else as for `rows`.
        """
        key, spec = self._find(layer, step, branch)
        words, own = self._keyed_words(spec, key[0]), self._word_queries(spec)
        found = [[own[token] for token in keys if token in own] for keys, _ in words]
        chosen = [queries if len(queries) == len(keys) else [] for queries, (keys, _) in zip(found, words, strict=True)]
        asked = [query for each in chosen for query in each]
        rows = compute_rows_of(spec, *self._numbers(key, spec, head, asked))
        require_finite(rows, key)
        summed = torch.stack([rows[..., keys].sum(-1) for keys, _ in words], -1)  # (H, n, W)
        parts = summed.split([len(each) for each in chosen], -2)
        return torch.stack([part.mean(-2) for part in parts], -2)  # the mean of no rows is NaN

    def mean_word_map(
        self,
        word: str | Word,
        *,
        layers: Collection[str] | None = None,
        heads: Heads | None = None,
        steps: Collection[int] | None = None,
        size: Grid | None = None,
        branch: Branch | None = None,
        relative: bool = False,
    ) -> MeanMap:
        """What pixels spend on a word, averaged over layers, heads and steps; the result says which.

        Every head of every layer at every step has the same weight. Maps on other grids are resized exactly: each cell
        of the result is the mean of the area that it covers. DAAM (`viz.daam`) resizes bicubically, always takes all
        steps, and no middle block.

        Args:
            word: as for `word_map`; layers that do not look at it are refused if named, and left out otherwise.
            layers: all that look at the word by default, or those of `heads`.
            heads: of every layer, or {layer: its heads}; all by default.
            steps: all by default. Steps at which a layer has a gap are left out, and named in the result.
            size: (h, w) of the result; by default the finest grid of the layers.
            relative: divide the mean by its own mean: where the word is used.

        Raises:
            KeyError: for layers, steps, branches or words that were not recorded, or if no layer looks at the word.
            IndexError: for a head out of range.
            ValueError: if there is nothing to average.
        """
        branch = branch or self.branches[-1]
        chosen = self._chosen_heads(word, layers, heads, branch)
        wanted = list(self.timesteps) if steps is None else [step for step in self.timesteps if step in steps]
        if not wanted or set(steps or ()) - set(wanted):
            raise KeyError(f"expected recorded steps, at least one, among {list(self.timesteps)}; got {steps}")
        if not any(chosen.values()):
            raise ValueError(f"expected at least one layer and one head to average, got {chosen}")
        grids = [self.layers[name].grid for name in chosen]
        size = size or max(grids, key=lambda grid: grid[0] * grid[1])
        total, count = torch.zeros(size, dtype=torch.float64), 0
        for name, own in chosen.items():
            for step in (step for step in wanted if step not in self.gaps.get(name, {})):
                maps = self.word_map(name, word, step=step, branch=branch)[list(own)].double()
                total += resized(maps.sum(0), size)
                count += len(own)
        if not count:
            raise KeyError(f"there is no map of {_text(word)!r} at steps {wanted}: the layers have gaps there")
        mean = (total / count).float()
        gaps = {name: tuple(step for step in wanted if step in self.gaps.get(name, {})) for name in chosen}
        gaps = {name: missing for name, missing in gaps.items() if missing}
        mean = relative_to_mean(mean) if relative else mean
        return MeanMap(mean, _text(word), branch, chosen, tuple(wanted), gaps, relative)

    def keys_of(self, layer: str, word: str | Word, branch: Branch | None = None) -> list[int]:
        """The indices of a word's keys among all keys of a layer; KeyError if the layer does not look at it."""
        return self._keys_of(*self._place(layer, branch), word)

    def layers_with(self, word: str | Word, branch: Branch | None = None) -> list[str]:
        """The names of the layers that look at a word."""
        return [name for name in self.layers if self._looks_at(name, word, branch)]

    def _whole_row(
        self, key: Key, spec: Layer, head: int | None, query: tuple[int, int] | torch.Tensor | str | Word
    ) -> torch.Tensor:
        """(H, M), over all keys: the row of a pixel, or the mean row of a region or of a word's tokens."""
        if isinstance(query, torch.Tensor):
            shares = shares_of_cells(spec, spec.grid, query)
            cells = shares.nonzero().squeeze(-1)
            asked = (cells + spec.first_query).tolist()
            row = compute_mean_of_rows(spec, *self._numbers(key, spec, head, asked), shares[cells])
        elif isinstance(query, (str, Word)):
            own, tokens = self._word_queries(spec), self._keys_of(spec, key[0], query)
            if not all(token in own for token in tokens):
                raise ValueError(f"the word {_text(query)!r} is no query of {spec.name!r}: it is only looked at there")
            asked = [own[token] for token in tokens]
            row = compute_rows_of(spec, *self._numbers(key, spec, head, asked)).mean(-2)
        else:
            row = compute_rows_of(spec, *self._numbers(key, spec, head, [query_of(spec, query)])).squeeze(-2)
        require_finite(row, key)
        return row

    def _word_queries(self, spec: Layer) -> dict[int, int]:
        """{key: query}, the same tokens; ValueError if words are no queries."""
        own = queries_of_keys(spec)
        if spec.key_grid is None or not own:
            raise ValueError(f"words are no queries of {spec.name!r}: pixels look at them, and they at nothing")
        return own

    def _keyed_words(self, spec: Layer, branch: Branch) -> list[tuple[list[int], Word]]:
        """The words of a layer, each with the indices of its keys among all keys."""
        found = words_of_layer(spec, self.words.get(branch))
        return [
            ([first + token for token in word.tokens], word) for first, encoding in found for word in encoding.words
        ]

    def _keys_of(self, spec: Layer, branch: Branch, word: str | Word) -> list[int]:
        """The keys of a word; KeyError if the layer does not look at it."""
        words = self._keyed_words(spec, branch)
        try:
            found = find_word([each for _, each in words], word)
        except KeyError as error:
            raise KeyError(f"{error.args[0]} ({spec.name!r}, {branch!r})") from None
        return next(keys for keys, each in words if each == found)

    def _chosen_heads(
        self, word: str | Word, layers: Collection[str] | None, heads: Heads | None, branch: Branch
    ) -> dict[str, tuple[int, ...]]:
        """{layer: heads} to average over."""
        if layers is None:
            named = heads if isinstance(heads, Mapping) else None
            layers = list(named) if named else self.layers_with(word, branch)
            if not layers:
                everything = [each for name in self.layers for each in self.words_of(name, branch)]
                find_word(everything, word)  # raises a KeyError that names the closest
        chosen = {}
        for name in layers:
            spec = self._place(name, branch)[0]
            self._keys_of(spec, branch, word)
            own = heads.get(name, range(spec.heads)) if isinstance(heads, Mapping) else heads
            chosen[name] = tuple(range(spec.heads) if own is None else own)
            if wrong := [head for head in chosen[name] if not 0 <= head < spec.heads]:
                raise IndexError(f"head {wrong[0]} is outside the {spec.heads} heads of {name}")
        return chosen

    def _looks_at(self, layer: str, word: str | Word, branch: Branch | None) -> bool:
        try:
            return bool(self._keys_of(*self._place(layer, branch), word))
        except KeyError:
            return False

    def _layer(self, name: str) -> Layer:
        if name in self.layers:
            return self.layers[name]
        if name in self.skipped:
            raise KeyError(f"layer {name!r} was found but not recorded: {self.skipped[name]}")
        close = difflib.get_close_matches(name, self.layers, n=3, cutoff=0.3) or list(self.layers)[:3]
        raise KeyError(f"no layer {name!r}; the closest are {', '.join(map(repr, close))}")

    def _place(self, name: str, branch: Branch | None) -> tuple[Layer, Branch]:
        """A layer and a branch, the last by default; KeyError if they were not recorded."""
        layer, branch = self._layer(name), branch or self.branches[-1]
        if branch not in self.branches:
            raise KeyError(f"branch {branch!r} was not recorded; recorded are {self.branches}")
        return layer, branch

    def _find(self, name: str, step: int, branch: Branch | None) -> tuple[Key, Layer]:
        layer, branch = self._place(name, branch)
        if step not in self.timesteps:
            raise KeyError(f"step {step!r} was not recorded; recorded are {list(self.timesteps)}")
        if (reason := self.gaps.get(name, {}).get(step)) is not None:
            raise KeyError(f"layer {name!r} has no map at step {step}: {reason}")
        return (branch, name, step), layer

    def _numbers(
        self, key: Key, layer: Layer, head: int | None, asked: list[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The q and k of one head, or of all: q of all queries, or of those that are asked for.

        Raises:
            ValueError, KeyError: if the trace does not keep all queries, or those.
        """
        if head is not None and not 0 <= head < layer.heads:
            raise IndexError(f"head {head} is outside the {layer.heads} heads of {layer.name}")
        heads, kept = slice(None) if head is None else head, self.kept_queries.get(layer.name)
        if asked is None:
            require_all(layer, kept)
            return self.queries[key][heads], self.keys[key][heads]
        return self.queries[key][heads][..., positions(layer, kept, asked), :], self.keys[key][heads]


def require_finite(numbers: torch.Tensor, key: Key) -> None:
    if not numbers.isfinite().all():  # the numbers of a large file are not checked when it is opened
        raise ValueError(f"{key[1]!r} holds an infinity or a NaN at step {key[2]}: the trace is damaged")


def _text(word: str | Word) -> str:
    return word.text if isinstance(word, Word) else word
