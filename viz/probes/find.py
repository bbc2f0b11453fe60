"""Find the attention modules of a network by asking every probe about every module."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from viz.probes.joint import added_projections
from viz.probes.multihead import fused_encoder_layer, multihead_attention
from viz.probes.packed import packed_convolution, packed_convolution_1d, packed_linear
from viz.probes.separate import one_head_convolutions, query_key_value, sagan, separate_projections
from viz.probes.site import Probe, Site, Unprovable

PROBES: list[Probe] = [
    separate_projections,
    added_projections,
    packed_linear,
    packed_convolution,
    packed_convolution_1d,
    one_head_convolutions,
    sagan,
    multihead_attention,
    fused_encoder_layer,
    query_key_value,
]


def find_sites(network: nn.Module) -> tuple[dict[str, Site], dict[str, str]]:
    """All attention modules of a network as {name: site}, and those that were refused as {name: reason}.

    Modules inside a refused module are not examined.

    Raises:
        ValueError: when no probe recognises any module; the message names the kinds of modules in the network.
    """
    sites: dict[str, Site] = {}
    skipped: dict[str, str] = {}
    for name, module in network.named_modules():
        if any(name.startswith(f"{outer}.") for outer in skipped):
            continue
        try:
            site = next((site for probe in _candidates(module) if (site := probe(module)) is not None), None)
            if site is not None and isinstance(module, torch.jit.ScriptModule):
                raise Unprovable("it is TorchScript, which runs without calling hooks")
        except Unprovable as reason:
            skipped[name] = str(reason)
        else:
            if site is not None:
                sites[name] = site
    if not sites and not skipped:
        kinds = sorted({type(module).__name__ for module in network.modules()})
        known = ", ".join(probe.__name__ for probe in PROBES)
        raise ValueError(
            f"no attention was found in {type(network).__name__} by the probes ({known}); saw {', '.join(kinds)}"
        )
    return sites, skipped


def _candidates(module: nn.Module) -> Iterator[Probe]:
    """The probes that may recognise a module, by the names they look for."""
    for probe in PROBES:
        names = getattr(probe, "looks_for", None)
        if names is None or not (
            names.isdisjoint(module._modules.keys()) and names.isdisjoint(module._parameters.keys())
        ):
            yield probe
