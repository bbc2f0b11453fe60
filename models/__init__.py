"""Networks: what can be opened, what draws the bundled critters, and what trained them. Nothing about drawing maps."""


def __getattr__(name: str):
    # Loaded on first use: a page that shows a recorded trace needs no torch.
    if name == "load":
        from models.opening.load import load

        return load
    raise AttributeError(f"module 'models' has no attribute {name!r}; it has 'load'")
