"""Opening a model from the Hub, a folder or a single file. Its files are inspected before anything loads them."""
