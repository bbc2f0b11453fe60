"""Training and evaluating the bundled models."""
