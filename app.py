"""Starts the page, on a Space or from a checkout. The page itself is in viz/__main__.py (`python -m viz`)."""

from viz.__main__ import main

if __name__ == "__main__":
    main()
