"""An independent oracle: every softmax of a run, in double precision, with the path of the module that ran it.

    with Oracle(network) as oracle:
        network(sample, timestep)
    oracle.weights("mid_block.attn", call=0, batch=2)      # (B, H, N, M), float64

It knows nothing of what is under test and imports none of it. It does not read modules at all: it sees the operations
that PyTorch dispatches, so it does not matter whether a module calls a fused kernel, writes out its softmax, or takes
the fast path of `nn.MultiheadAttention`. A softmax made of `exp` and a division is the one that it does not see.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Softmax:
    """One softmax of a run.

    Attributes:
        path: of the innermost module that was running; "" for the network itself.
        call: which call of the network it belongs to, from 0; None if the network was not running, as in a backward
            pass that runs checkpointed blocks again.
        operation: what was dispatched.
        weights: (…, N, M) float64, in the shape that the module gave them, with the softmax's dimension moved to the
            end; every row sums to 1, or to 0 if all of its keys are masked.
    """

    path: str
    call: int | None
    operation: str
    weights: Tensor

    def per_picture(self, batch: int) -> Tensor:
        """(B, H, N, M) of a batch of B pictures; what stands between the batch and the rows counts as heads.

        Raises:
            ValueError: when the first dimension is no multiple of the batch.
        """
        *leading, queries, keys = self.weights.shape
        if not leading or leading[0] % batch:
            raise ValueError(f"weights of shape {tuple(self.weights.shape)} do not belong to a batch of {batch}")
        return self.weights.reshape(batch, -1, queries, keys)


class Oracle(TorchDispatchMode):
    """Collects the softmaxes of the runs in its `with` block, in `softmaxes`.

    Args:
        keep: takes a module's path, and says whether to keep its weights; all by default.
    """

    def __init__(self, network: nn.Module, keep: Callable[[str], bool] = lambda path: True) -> None:
        super().__init__()
        self.softmaxes: list[Softmax] = []
        self.calls = 0
        self._network, self._keep = network, keep
        self._paths = {id(module): path for path, module in network.named_modules()}
        self._running: list[str | None] = []  # paths, the innermost one last; None for modules of no network
        self._depth = 0  # of calls of the network
        self._hooks = ExitStack()

    def __enter__(self) -> Oracle:
        # Global hooks: `nn.TransformerEncoderLayer` looks for hooks of its own modules, and computes otherwise then.
        self._hooks.callback(register_module_forward_pre_hook(self._enter_module).remove)
        self._hooks.callback(register_module_forward_hook(self._leave_module, always_call=True).remove)
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._hooks.close()

    def weights(self, path: str, call: int, batch: int) -> Tensor:
        """(B, H, N, M): the one softmax that ran in a module, or in what it contains, in one call.

        Raises:
            KeyError: when there was none, or more than one.
        """
        found = self.find(path, call)
        if len(found) != 1:
            raise KeyError(f"{len(found)} softmaxes ran in {path!r} in call {call}; there are {self.ran()}")
        return found[0].per_picture(batch)

    def find(self, path: str, call: int | None) -> list[Softmax]:
        """All softmaxes that ran in a module, or in what it contains, in one call."""
        inside = (entry for entry in self.softmaxes if entry.path == path or entry.path.startswith(f"{path}."))
        return [entry for entry in inside if entry.call == call]

    def ran(self) -> set[tuple[str, int | None]]:
        """(path, call) of all softmaxes."""
        return {(entry.path, entry.call) for entry in self.softmaxes}

    def _enter_module(self, module: nn.Module, args: tuple) -> None:
        if module is self._network:
            self.calls += self._depth == 0
            self._depth += 1
        enclosing = self._running[-1] if self._running else None
        self._running.append(self._paths.get(id(module), enclosing))

    def _leave_module(self, module: nn.Module, args: tuple, output: object) -> None:
        self._depth -= module is self._network
        self._running.pop()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        compute = _OPERATIONS.get(operation.overloadpacket.__name__)
        path = (self._running[-1] if self._running else None) or ""
        if compute is not None and self._keep(path):
            call = self.calls - 1 if self._depth else None
            names = [argument.name for argument in operation._schema.arguments]
            arguments = dict(zip(names, args, strict=False)) | kwargs
            # Before it runs, as a module may write into its arguments or its result afterwards.
            self.softmaxes.append(Softmax(path, call, str(operation), compute(arguments)))
        return operation(*args, **kwargs)


def _softmax(arguments: dict) -> Tensor:
    scores, dim = _double(arguments["self"]), arguments["dim"]
    return torch.softmax(scores, dim).movedim(dim, -1)


def _safe_softmax(arguments: dict) -> Tensor:
    return _rows(_double(arguments["self"]).movedim(arguments["dim"], -1))


def _masked_softmax(arguments: dict) -> Tensor:
    scores = _double(arguments["self"])
    return _rows(_hide(scores, arguments["mask"], arguments.get("mask_type")))


def _fused(arguments: dict) -> Tensor:
    """The kernels of `scaled_dot_product_attention`: q (…, H, N, d) and k (…, H', M, d)."""
    q, k = _double(arguments["query"]), _double(arguments["key"])
    if q.shape[-3] != k.shape[-3]:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)
    scale = arguments.get("scale")
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    mask = next((arguments[name] for name in ("attn_mask", "attn_bias") if arguments.get(name) is not None), None)
    if arguments.get("is_causal"):
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -torch.inf)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask.cpu(), -torch.inf)
    elif mask is not None:
        scores = scores + _double(mask)
    return _rows(scores)


def _multihead(arguments: dict) -> Tensor:
    """The fast path of `nn.MultiheadAttention`."""
    return _project(arguments, arguments["query"], arguments["key"], arguments["num_head"])


def _encoder_layer(arguments: dict) -> Tensor:
    """The fast path of `nn.TransformerEncoderLayer`."""
    tokens = _double(arguments["src"])
    if arguments["norm_first"]:
        weight, bias = _double(arguments["norm_weight_1"]), _double(arguments["norm_bias_1"])
        tokens = torch.nn.functional.layer_norm(tokens, weight.shape, weight, bias, arguments["eps"])
    return _project(arguments, tokens, tokens, arguments["num_heads"])


def _project(arguments: dict, queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """The weights (B, H, N, M) of packed projections, (3C, C) and (3C,), of (B, N, C) and (B, M, C)."""
    weights, biases = _double(arguments["qkv_weight"]).chunk(3), _double(arguments["qkv_bias"]).chunk(3)
    q, k = (
        torch.nn.functional.linear(_double(tokens), weights[i], biases[i]).unflatten(-1, (heads, -1)).transpose(1, 2)
        for i, tokens in enumerate((queries, keys))
    )
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return _rows(_hide(scores, arguments.get("mask"), arguments.get("mask_type")))


def _hide(scores: Tensor, mask: Tensor | None, kind: int | None) -> Tensor:
    """Apply a mask of PyTorch's fast paths, which is True where it hides a key, to scores (B, H, N, M)."""
    if mask is None:
        return scores
    mask = mask.cpu().bool()
    return scores.masked_fill(mask[:, None, None] if kind == 1 else mask, -torch.inf)  # kind 1: (B, M)


def _rows(scores: Tensor) -> Tensor:
    """The softmax of scores; zeros where all keys of a query are masked, as in PyTorch."""
    return torch.softmax(scores, dim=-1).masked_fill((scores == -torch.inf).all(-1, keepdim=True), 0.0)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float64)


_OPERATIONS: dict[str, Callable[[dict], Tensor]] = {
    "_softmax": _softmax,
    "_log_softmax": _softmax,
    "_safe_softmax": _safe_softmax,
    "_masked_softmax": _masked_softmax,
    "_scaled_dot_product_flash_attention_for_cpu": _fused,
    "_scaled_dot_product_flash_attention": _fused,
    "_scaled_dot_product_efficient_attention": _fused,
    "_scaled_dot_product_cudnn_attention": _fused,
    "_scaled_dot_product_fused_attention_overrideable": _fused,
    "_native_multi_head_attention": _multihead,
    "_transformer_encoder_layer_fwd": _encoder_layer,
}
