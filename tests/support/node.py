"""The Node that Playwright's package carries, for the JavaScript that needs no browser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import playwright

NODE = Path(playwright.__file__).parent / "driver" / "node"


def run_node(*arguments: str, text: str = "") -> str:
    """What Node prints; `text` is its standard input.

    Raises:
        RuntimeError: with what Node wrote to standard error, when it fails.
    """
    done = subprocess.run([NODE, *arguments], input=text, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def evaluate(module: str) -> Any:
    """Run the text of an ES module that calls `answer(value)` once; returns that value, sent as JSON."""
    prelude = "const answer = (value) => console.log(JSON.stringify(value));\n"
    return json.loads(run_node("--input-type=module", "-", text=prelude + module))


if __name__ == "__main__":  # `make lint` runs eslint with it
    print(NODE)
