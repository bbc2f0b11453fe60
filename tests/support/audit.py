"""What `make lint` asks of the packages that are installed: a licence that is allowed, and no known vulnerability.

    python -m tests.support.audit

Licences are those that the packages state themselves. Vulnerabilities are looked up by pip-audit, where its database
can be reached.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent.parent
SECONDS = 300  # that pip-audit may take

# SPDX identifiers. None of them asks anything of a program that imports the package.
ALLOWED = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0"),
    *("CNRI-Python", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"),
}
# What packages write instead of an identifier.
ALSO_CALLED = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Packages that state none in their metadata: read in their files.
KNOWN = {"axe-playwright-python": "MIT"}


def normal(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(requirements: Path) -> dict[str, Distribution]:
    """{name: package} of a file of requirements, with all that these need in turn, as far as they are installed."""
    found: dict[str, Distribution] = {}
    waiting = [(each, frozenset[str]()) for each in _lines(requirements)]
    seen = set()
    while waiting:
        requirement, extras = waiting.pop()
        key = normal(requirement.name), frozenset(requirement.extras)
        is_asked = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (extras or {""})
        )
        if not is_asked or key in seen:
            continue
        seen.add(key)
        try:
            found[key[0]] = package = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        waiting += [(Requirement(text), key[1]) for text in package.requires or ()]
    return found


def _lines(requirements: Path) -> list[Requirement]:
    lines: list[Requirement] = []
    for line in requirements.read_text().splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if text.startswith("-r "):
            lines += _lines(requirements.parent / text[3:].strip())
        elif text:
            lines.append(Requirement(text))
    return lines


def licence(package: Distribution) -> str:
    """What a package says its licence is: an SPDX expression, or classifiers' names joined by "OR"; "" for nothing."""
    metadata = package.metadata
    if expression := metadata.get_all("License-Expression"):
        return expression[0]
    classifiers = [each.split(" :: ") for each in metadata.get_all("Classifier") or ()]
    names = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] != "OSI Approved"]
    stated = next(iter(metadata.get_all("License") or ()), KNOWN.get(normal(package.name), ""))
    return " OR ".join(names) or stated.partition("\n")[0].strip()


def is_allowed(expression: str) -> bool:
    """Whether a package may be used under allowed licences: all that are joined by AND, one of those joined by OR."""
    text = expression.strip()
    if text in ALSO_CALLED or text in ALLOWED:
        return True
    if text.startswith("(") and _closing(text) == len(text) - 1:
        return is_allowed(text[1:-1])
    for word, judge in ((" OR ", any), (" AND ", all)):
        parts = _split(text, word)
        if len(parts) > 1:
            return judge(map(is_allowed, parts))
    return False


def _closing(text: str) -> int:
    """Where the parenthesis that opens the text is closed."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return place
    return -1


def _split(text: str, word: str) -> list[str]:
    """The parts between a word that stands outside of parentheses."""
    parts, depth = [""], 0
    for piece in re.split(rf"({word}|[()])", text):
        depth += (piece == "(") - (piece == ")")
        if piece == word and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def refused(packages: Iterable[Distribution]) -> list[str]:
    """A sentence for each package whose licence is not allowed, or that states none."""
    found = [(package.name, licence(package)) for package in packages]
    return [
        f"{name} is under {text!r}, which is not an allowed licence." if text else f"{name} states no licence."
        for name, text in found
        if not is_allowed(text)
    ]


def vulnerabilities(report: str) -> tuple[list[str], int]:
    """A sentence for each known vulnerability in what pip-audit printed, and how many packages it could look up.

    Args:
        report: JSON, or anything else if pip-audit failed.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], 0
    looked_up = [each for each in packages if "skip_reason" not in each]
    sentences = [
        f"{each['name']} {each['version']} has the vulnerability {known['id']}"
        + (f"; mended in {', '.join(known['fix_versions'])}." if known["fix_versions"] else ".")
        for each in looked_up
        for known in each["vulns"]
    ]
    return sentences, len(looked_up)


def _audit() -> str:
    """What pip-audit prints about this environment."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""


def main() -> None:
    packages = needed(ROOT / "requirements-dev.txt")
    problems = refused(packages.values())
    print(f"The licences of {len(packages)} packages were read.")
    known, count = vulnerabilities(_audit())
    if count:
        print(f"{count} packages were looked up in pip-audit's database.")
    else:
        print("pip-audit's database could not be reached: no package was looked up.")
    for problem in (*problems, *known):
        print(problem, file=sys.stderr)
    sys.exit(bool(problems or known))


if __name__ == "__main__":
    main()
