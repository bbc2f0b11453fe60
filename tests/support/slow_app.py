"""`python app.py` on a machine on which models load slowly: not before the file named first exists."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import models
from models.opening.load import load
from viz.__main__ import main


def load_slowly(*arguments: Any, **options: Any) -> Any:
    while not GO.exists():
        time.sleep(0.02)
    return load(*arguments, **options)


if __name__ == "__main__":
    GO = Path(sys.argv.pop(1))
    models.load = load_slowly  # the module finds it by a function
    main()
