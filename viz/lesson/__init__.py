"""What the tab *How it works* shows: one layer in one call, in numbers."""
