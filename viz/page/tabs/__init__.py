"""The page's tabs, *Explore* and *How it works*, and the parts of the former."""
