"""Traces of attention, and everything drawn from them."""


def __getattr__(name: str):
    # Loaded on first use: a page that shows a recorded trace needs no torch.
    if name == "record":
        from viz.recording.recorder import record

        return record
    if name == "plan":
        from viz.recording.plan import plan

        return plan
    if name == "Trace":
        from viz.trace import Trace

        return Trace
    if name == "Layer":
        from viz.layer import Layer

        return Layer
    raise AttributeError(f"module 'viz' has no attribute {name!r}; it has 'record', 'plan', 'Trace' and 'Layer'")
