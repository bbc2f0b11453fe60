"""Probes: the few lines that know where a family of attention modules keeps its q, k, v, heads and scale."""

from viz.probes.find import PROBES, find_sites
from viz.probes.site import Heads, Reading, Site, Tap, Unprovable, into, out_of, to_heads

__all__ = ["PROBES", "Heads", "Reading", "Site", "Tap", "Unprovable", "find_sites", "into", "out_of", "to_heads"]
