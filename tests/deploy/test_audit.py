"""The licences and vulnerabilities of what is installed."""

import json
from email.message import Message
from pathlib import Path

import pytest

from tests.support.audit import is_allowed, licence, needed, refused, vulnerabilities

ROOT = Path(__file__).parent.parent.parent


class Package:
    """As importlib.metadata has it."""

    def __init__(self, *fields, name="toy"):
        self.name, self.metadata = name, Message()
        for key, value in fields:
            self.metadata[key] = value


def test_every_package_has_an_allowed_licence():
    packages = needed(ROOT / "requirements-dev.txt")
    assert {"torch", "gradio", "starlette", "pytest", "safetensors", "markupsafe"} <= set(packages)
    assert refused(packages.values()) == []


@pytest.mark.parametrize(
    "text",
    ["MIT", "MIT License", "GPL-3.0-only OR MIT", "MPL-2.0 AND (Apache-2.0 OR MIT)", "(MIT)", "(MIT AND ISC) OR X"],
)
def test_allowed(text):
    assert is_allowed(text)


@pytest.mark.parametrize(
    "text",
    ["", "GPL-3.0-only", "MIT AND GPL-3.0-only", "(MIT OR X) AND GPL", "MITT", "Apache-2.0 WITH Y", "(MIT", "Other"],
)
def test_not_allowed(text):
    assert not is_allowed(text)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("License-Expression", "ISC"), ("License", "GPL")], "ISC"),
        ([("Classifier", "License :: OSI Approved :: MIT License"), ("License", "long text")], "MIT License"),
        ([("License", "GPL-3.0-only\n\nVersion 3 …")], "GPL-3.0-only"),
        ([], ""),
    ],
)
def test_what_a_package_says(fields, expected):
    assert licence(Package(*fields)) == expected


def test_a_refusal_names_package_and_licence():
    packages = [Package(("License", "GPL-3.0-only"), name="viral"), Package(name="silent"), Package(("License", "MIT"))]
    assert refused(packages) == [
        "viral is under 'GPL-3.0-only', which is not an allowed licence.",
        "silent states no licence.",
    ]


def test_vulnerabilities_are_named_and_an_unreachable_database_is_noticed():
    bad = {
        "name": "a",
        "version": "1",
        "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}, {"id": "X", "fix_versions": []}],
    }
    good = {"name": "b", "version": "1", "vulns": []}
    skipped = {"name": "c", "skip_reason": "not found"}
    sentences = ["a 1 has the vulnerability CVE-1; mended in 2.", "a 1 has the vulnerability X."]
    assert vulnerabilities(json.dumps({"dependencies": [bad, good, skipped]})) == (sentences, 2)
    assert vulnerabilities(json.dumps({"dependencies": [skipped]})) == ([], 0)
    assert vulnerabilities("ERROR: no connection") == ([], 0)
