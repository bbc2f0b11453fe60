"""Networks: opening any diffusion model, the bundled critters, and their training. Nothing here draws maps."""


def __getattr__(name: str):
    # Loaded on first use: a page that only shows recorded traces needs no torch.
    if name == "load":
        from models.opening.load import load

        return load
    raise AttributeError(f"module 'models' has no attribute {name!r}; it has 'load'")
