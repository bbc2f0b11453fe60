"""Opening a model: its files looked at first, then loaded; from the Hub, a folder, or a single file."""
