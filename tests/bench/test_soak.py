"""A minute of many visitors: nothing fails that should not, pointing stays fast, and the server's memory stays flat."""

import json

import pytest

from tests.bench import soak, soak_pages

SECONDS, SESSIONS = 60, 20


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return soak.run(SESSIONS, SECONDS, tmp_path_factory.mktemp("soak"))


@pytest.mark.slow
def test_nothing_fails_that_should_not(found):
    assert found["failures"] == []
    assert all(found["actions"][name]["count"] for name in ("open the page", "map from the server", "draw a picture"))
    assert found["actions"]["an old link, after kill −9"]["count"] == 1


@pytest.mark.slow
def test_pointing_is_not_behind_runs(found):
    assert found["actions"]["map from the server"]["p50"] < 0.25
    assert found["samples"][-1]["processes"] == 2  # the server, and the one that computes maps


@pytest.mark.slow
def test_server_keeps_neither_threads_nor_connections_of_those_who_left(found):
    *_, first, second = found["samples"][len(found["samples"]) // 2 :: max(1, len(found["samples"]) // 5)]
    assert second["threads"] <= first["threads"] + 20 and second["files"] <= first["files"] + 60


def test_pages_are_written_from_what_was_seen(tmp_path):
    action = {"count": 4, "per_minute": 2.04, "p50": 0.5, "p95": None, "refused": 1}
    samples = [{"at": 0, "rss_mb": 400, "threads": 9, "files": 20, "cache_mb": 1}]
    seen = {"sessions": 3, "seconds": 120, "actions": {"point": action}, "left": 2, "failures": [], "rss_growth": 1.0}
    seen |= {"late": {"p50": 0.001, "p95": 0.0142}}
    page = tmp_path / "soak.md"
    page.write_text("before\n<!-- soak -->\nold\n<!-- end -->\nafter\n")
    soak_pages.write_pages(seen | {"samples": samples}, tmp_path / "soak.json")
    text = page.read_text()
    assert (
        "| point | 2.0 | 0.50 s | – | 1 |" in text
        and "3 sessions for 2 minutes, 2 runs left halfway, 0 failures" in text
    )
    assert "process was at most 14 ms late" in text
    assert "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    assert json.loads((tmp_path / "soak.json").read_text())["samples"] == samples
    assert (tmp_path / "soak.svg").read_text().startswith("<svg")
