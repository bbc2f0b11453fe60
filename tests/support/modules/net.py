"""A network around one or two random attention modules, which states the truth about their keys and queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.support.modules.arithmetic import Moment
from tests.support.modules.cores import LEARNED, WORD_WIDTH, call_core, flatten_map, make_core, unflatten_map
from tests.support.modules.plan import Plan

# ("pixels", row, column), ("words", i), ("learned", i), ("merged", i), ("frames", i), ("pieces", i)
Label = tuple
CHANNELS, WORDS, FRAMES = 3, 5, 4


@dataclass(frozen=True)
class Truth:
    """What the queries and keys of one attention module are at one step, in the order in which it joined them.

    Attributes:
        grid: (h, w) of the map that the pixels of the queries are cells of. key_grid: the same for the keys.
        sources: for each picture of the batch, the picture that its keys were made of.
        identity: the pictures without attention: each query got its own value.
    """

    queries: tuple[Label, ...]
    keys: tuple[Label, ...]
    grid: tuple[int, int]
    key_grid: tuple[int, int]
    sources: tuple[int, ...]
    identity: frozenset[int]


def pixel_labels(grid: tuple[int, int], flatten: str) -> list[Label]:
    rows, columns = grid
    if flatten == "rows":
        return [("pixels", row, column) for row in range(rows) for column in range(columns)]
    return [("pixels", row, column) for column in range(columns) for row in range(rows)]


class Block(nn.Module):
    """Joins the tokens, calls the attention, and adds what it returns for the pixels to them."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, C = plan, plan.width
        self.attention = make_core(plan)
        if plan.norm in ("shared", "functional") and plan.family != "convolution":
            self.norm: nn.Module = nn.LayerNorm(C)
        if plan.norm == "map":
            self.norm = nn.GroupNorm(2, C)
        if "split pixels" in plan.oddities or ("learned" in plan.keys and plan.family != "convolution"):
            self.learned = nn.Parameter(torch.empty(1, LEARNED, C))
        if "words" in plan.keys and plan.keys != ("words",):
            self.words_in = nn.Linear(WORD_WIDTH, C)
        if plan.positions:
            self.places = nn.Parameter(torch.empty(1, 96, C))
        if plan.key_map == "convolved":
            self.reduce = nn.Conv2d(C, C, 2, stride=2)
        self.truth: dict[int, Truth] = {}

    def forward(self, tokens: Tensor, words: Tensor | None, moment: Moment) -> Tensor:
        """tokens: (B, h·w, C), or (B, C, h, w) for convolutions."""
        if self.plan.gated(moment.step):
            return tokens
        normed = self._normed(tokens)
        if self.plan.family == "convolution":
            return tokens + self._convolve(normed, moment)
        return tokens + self._attend(normed, words, moment)

    def _normed(self, x: Tensor) -> Tensor:
        norm = getattr(self, "norm", None)
        if norm is None:
            return x
        if self.plan.norm == "functional":
            return F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias)
        if self.plan.norm == "map" and x.ndim == 3:
            return norm(x.transpose(1, 2)).transpose(1, 2)
        return norm(x)

    def _convolve(self, x: Tensor, moment: Moment) -> Tensor:
        """Call an attention module that flattens the map itself."""
        labels, order = pixel_labels(moment.grid, self.plan.flatten), None
        if "shuffled" in self.plan.oddities:
            order = self._permutation(len(labels))
            labels = [labels[i] for i in order]
        learned = [("learned", i) for i in range(LEARNED)] if "learned" in self.plan.keys else []
        self._state(labels, learned + labels, moment, moment.grid)
        out = self.attention(x, moment=moment, order=order)
        return self.attention(0.5 * out, moment=moment, order=order) if "twice" in self.plan.oddities else out

    def _attend(self, tokens: Tensor, words: Tensor | None, moment: Moment) -> Tensor:
        labels = pixel_labels(moment.grid, self.plan.flatten)
        tokens, labels, undo = self._rearrange(tokens, labels, moment)
        keys, key_labels, key_grid = self._key_map(tokens, labels, moment)
        queries, query_labels = self._join(self.plan.queries, tokens, labels, words)
        if self.plan.key_map != "same" or self.plan.keys != self.plan.queries:
            keys, key_labels = self._join(self.plan.keys, keys, key_labels, words)
        else:
            keys, key_labels = queries, query_labels
        source = moment.source("tokens elsewhere")
        if self.plan.family != "packed" and source != tuple(range(moment.batch)):
            keys = keys[torch.tensor(source)]
        late = [("learned", i) for i in range(LEARNED)] if "late keys" in self.plan.oddities else []
        self._state(query_labels, late + key_labels, moment, key_grid)
        out = self._call(queries, keys, moment)
        pixels = [i for i, label in enumerate(query_labels) if label[0] not in ("words", "learned")]
        return undo(out[:, pixels])

    def _call(self, queries: Tensor, keys: Tensor, moment: Moment) -> Tensor:
        places, words = None, self.plan.keys == ("words",)
        if self.plan.positions:
            places = [self.places[:, : queries.shape[1]], 0 if words else self.places[:, : keys.shape[1]]]
        out = call_core(self.attention, self.plan, queries, keys, moment, places)
        if "twice" in self.plan.oddities:
            out = out + call_core(self.attention, self.plan, queries * 0.5, keys.flip(1), moment, places)
        return out

    def _key_map(self, tokens: Tensor, labels: list[Label], moment: Moment) -> tuple[Tensor, list[Label], tuple]:
        """The pixels that the keys are made of, their labels and their grid: the map itself, or a coarser one."""
        if self.plan.key_map == "same":
            return tokens, labels, moment.grid
        x = unflatten_map(tokens, moment.grid, self.plan.flatten)
        if self.plan.key_map == "convolved":
            x = self.reduce(x)
        else:
            x = F.avg_pool2d(x, 2 if self.plan.key_map == "pooled" else (2, 1))
        grid = x.shape[2], x.shape[3]
        return flatten_map(x, self.plan.flatten), pixel_labels(grid, self.plan.flatten), grid

    def _join(
        self, segments: tuple[str, ...], tokens: Tensor, labels: list[Label], words: Tensor | None
    ) -> tuple[Tensor, list[Label]]:
        """The segments of the queries or keys in their order."""
        if segments == ("pixels",) and "split pixels" not in self.plan.oddities:
            return tokens, labels
        if segments == ("words",):
            assert words is not None
            return words, [("words", i) for i in range(words.shape[1])]
        parts = {"pixels": (tokens, labels)}
        if "learned" in segments or "split pixels" in self.plan.oddities:
            parts["learned"] = (self.learned.expand(len(tokens), -1, -1), [("learned", i) for i in range(LEARNED)])
        if "words" in segments:
            assert words is not None
            parts["words"] = (self.words_in(words), [("words", i) for i in range(words.shape[1])])
        if "split pixels" in self.plan.oddities:
            half = len(labels) // 2
            parts |= {"first": (tokens[:, :half], labels[:half]), "last": (tokens[:, half:], labels[half:])}
            segments = ("first", "learned", "last")
        return (
            torch.cat([parts[segment][0] for segment in segments], dim=1),
            [label for segment in segments for label in parts[segment][1]],
        )

    def _rearrange(
        self, tokens: Tensor, labels: list[Label], moment: Moment
    ) -> tuple[Tensor, list[Label], Callable[[Tensor], Tensor]]:
        """The tokens as an odd module has them, and how to undo that: merged, shuffled, in pieces, by frame."""
        (B, N, _), odd = tokens.shape, self.plan.oddities
        order = self._permutation(N)
        back = order.argsort()
        if "shuffled" in odd:
            return tokens[:, order], [labels[i] for i in order], lambda out: out[:, back]
        if "merged" in odd:
            pairs = tokens[:, order].unflatten(1, (N // 2, 2)).mean(2)
            merged = [("merged", i) for i in range(N // 2)]
            return pairs, merged, lambda out: out.repeat_interleave(2, dim=1)[:, back]
        if "frames" in odd:
            frames = tokens.unflatten(0, (-1, FRAMES)).transpose(1, 2)
            shape = frames.shape[:2]
            names = [("frames", i) for i in range(FRAMES)]
            return frames.flatten(0, 1), names, lambda out: out.unflatten(0, shape).transpose(1, 2).flatten(0, 1)
        if "windows" in odd or "lines" in odd:
            lines = moment.grid[0 if self.plan.flatten == "rows" else 1]
            count = 2 if "windows" in odd else lines
            pieces = tokens.unflatten(1, (count, N // count)).flatten(0, 1)
            return (
                pieces,
                [("pieces", i) for i in range(N // count)],
                lambda out: out.unflatten(0, (B, -1)).flatten(1, 2),
            )
        return tokens, labels, lambda out: out

    def _permutation(self, length: int) -> Tensor:
        return torch.randperm(length, generator=torch.Generator().manual_seed(self.plan.seed))

    def _state(self, queries: list[Label], keys: list[Label], moment: Moment, key_grid: tuple[int, int]) -> None:
        """Write down the truth."""
        tokens, later = moment.source("tokens elsewhere"), moment.source("keys elsewhere")
        if self.plan.family in ("packed", "convolution"):
            tokens = tuple(range(moment.batch))
        sources = tuple(tokens[picture] for picture in later)
        identity = moment.identity if len(queries) == len(keys) else frozenset()
        self.truth[moment.step] = Truth(tuple(queries), tuple(keys), moment.grid, key_grid, sources, identity)


class Stage(nn.Module):
    """Flattens the feature map, and puts it together again."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.block = Block(plan)

    def forward(self, x: Tensor, words: Tensor | None, moment: Moment) -> Tensor:
        plan = self.block.plan
        moment = replace(moment, plan=plan)
        if plan.family == "convolution":
            return _run(self.block, x, words, moment)
        tokens = _run(self.block, flatten_map(x, plan.flatten), words, moment)
        return unflatten_map(tokens, moment.grid, plan.flatten)


def _run(block: Block, x: Tensor, words: Tensor | None, moment: Moment) -> Tensor:
    if block.plan.checkpoint and torch.is_grad_enabled():
        return checkpoint(block, x, words, moment, use_reentrant=block.plan.seed % 2 == 0)
    return block(x, words, moment)


class Net(nn.Module):
    """A convolution, one or two attention modules, and a convolution, called once for each step of its plan."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, self.step = plan, 0
        plans = [plan]
        if plan.second:
            plain = replace(
                plan, family="separate", arithmetic="written", keys=("pixels",), queries=("pixels",), output="linear",
                key_map="same", positions=False, qk_norm=False, scaled_in_place=False, changes=(), oddities=frozenset(),
            )  # fmt: skip
            plans.append(plain)
        self.stem = nn.Conv2d(CHANNELS, plan.width, plan.stride, stride=plan.stride)
        kind, name = (Block, "blocks") if plan.flatten_at == "network" else (Stage, "stages")
        self.add_module(name, nn.ModuleList(map(kind, plans)))
        self.head = nn.Conv2d(plan.width, CHANNELS, 1)
        self._randomize()
        self.to(plan.dtype)
        self.train("dropout" in plan.oddities or plan.gradients)

    @torch.no_grad()
    def _randomize(self) -> None:
        generator = torch.Generator().manual_seed(self.plan.seed)
        for name, parameter in self.named_parameters():
            numbers = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1 and name.split(".")[-1] not in ("learned", "places", "late", "mem_kv"):
                numbers *= 1.2 * parameter[0].numel() ** -0.5
            elif parameter.ndim == 1:
                numbers = 0.2 * numbers + (1 if "norm" in name and name.endswith("weight") else 0)
            parameter.copy_(numbers)

    def forward(self, sample: Tensor, timestep: Tensor | float, encoder_hidden_states: Tensor | None = None) -> Tensor:
        x = self.stem(sample)
        x = x + 0.001 * torch.as_tensor(timestep, dtype=x.dtype).reshape(-1, 1, 1, 1)
        moment = Moment(self.plan, self.step, (x.shape[2], x.shape[3]), len(x))
        self.step += 1
        if self.plan.flatten_at == "stage":
            for stage in self.get_submodule("stages").children():
                x = stage(x, encoder_hidden_states, moment)
            return self.head(x)
        tokens = flatten_map(x, self.plan.flatten)
        for block in self.attention_blocks().values():
            tokens = _run(block, tokens, encoder_hidden_states, replace(moment, plan=block.plan))
        return self.head(unflatten_map(tokens, moment.grid, self.plan.flatten))

    def inputs(self) -> list[tuple[Tensor, Tensor | float, Tensor | None]]:
        """The arguments of each call."""
        plan, generator = self.plan, torch.Generator().manual_seed(self.plan.seed + 1)
        calls: list[tuple[Tensor, Tensor | float, Tensor | None]] = []
        for step in range(plan.steps):
            sample = torch.randn(plan.batch, CHANNELS, *plan.size, generator=generator).to(plan.dtype)
            if plan.guided and plan.batch % 2 == 0:
                sample = torch.cat([sample[: plan.batch // 2]] * 2)
            words = torch.randn(plan.batch, WORDS, WORD_WIDTH, generator=generator).to(plan.dtype)
            calls.append((sample, self.timestep(step), words if "words" in plan.keys else None))
        return calls

    def timestep(self, step: int) -> Tensor | float:
        number = 900 - 250 * step
        if self.plan.timestep == "float":
            return number / 1000
        if self.plan.timestep == "tensor":
            return torch.tensor(number)
        return torch.full((self.plan.batch,), number) if self.plan.timestep == "batch" else number

    def run(self) -> list[Tensor]:
        """Make all calls, with the backward pass if the plan has gradients; the output of each."""
        self.step, outputs = 0, []
        torch.manual_seed(self.plan.seed)  # for dropout
        self.zero_grad()
        for call in self.inputs():
            with torch.set_grad_enabled(self.plan.gradients):
                output = self(*call)
            if self.plan.gradients:
                output.float().square().mean().backward()
            outputs.append(output.detach())
        return outputs

    def attention_blocks(self) -> dict[str, Block]:
        """{path of an attention module: the block that calls it}."""
        blocks = ((name, module) for name, module in self.named_modules() if isinstance(module, Block))
        return {f"{name}.attention": block for name, block in blocks}
