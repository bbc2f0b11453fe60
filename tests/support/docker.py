"""The Dockerfile's instructions and what `.dockerignore` leaves of the tree, for tests on machines without Docker."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from pathlib import Path


def instructions(text: str) -> list[tuple[str, str]]:
    """[(name, arguments)] of a Dockerfile, with continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def exec_form(arguments: str) -> list[str]:
    """The command in JSON form at the end of CMD, ENTRYPOINT or HEALTHCHECK."""
    return json.loads(arguments[arguments.index("[") :])


def is_sent(path: str, ignored: str) -> bool:
    """Whether Docker sends a file, such as "viz/view.py", to the build: the last pattern that matches it decides."""
    sent = True
    for line in ignored.splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            negated, pattern = pattern.startswith("!"), pattern.removeprefix("!").removeprefix("**/")
            parts = path.split("/")
            folders = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
            anywhere = "**/" in line and any(fnmatch.fnmatch(part, pattern) for part in parts)
            if anywhere or any(_matches(folder, pattern) for folder in folders):
                sent = negated
    return sent


def _matches(path: str, pattern: str) -> bool:
    """As Docker's: a star does not match slashes."""
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def stage(root: Path, target: Path) -> list[str]:
    """Copy what the image would hold to `target`; returns the paths.

    Args:
        root: of the checkout; files that git does not know are left out.
    """
    tracked = subprocess.check_output(["git", "ls-files"], cwd=root, text=True).splitlines()
    ignored = (root / ".dockerignore").read_text()
    copies = [rest.split() for name, rest in instructions((root / "Dockerfile").read_text()) if name == "COPY"]
    staged = []
    for path in tracked:
        for source, destination in copies:
            is_inside = path == source or path.startswith(f"{source}/")
            if is_inside and is_sent(path, ignored):
                place = (Path(destination) / Path(path).relative_to(source)) if path != source else Path(path)
                (target / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, target / place)
                staged.append(path)
    return staged
