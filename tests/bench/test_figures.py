"""The published tables come from docs/figures.json, and the benches write it as they say."""

import json
import random
import statistics

import pytest

from models.opening.revision import earlier, revision
from tests.bench import figures
from tests.bench.timing import alternate, end_step, median_with_interval

PUBLISHED = json.loads(figures.FILE.read_text())


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: page.name)
def test_tables_in_pages_equal_the_file(page):
    text = page.read_text()
    assert "<!-- figures: bundled" in text
    assert figures.with_tables(text, PUBLISHED) == text


def test_figures_md_shows_every_section():
    text = figures.PAGES[1].read_text()
    assert all(f"<!-- figures: {section} -->" in text for section in PUBLISHED if section != "quick")


@pytest.mark.parametrize("section", PUBLISHED)
def test_file_says_what_each_section_was_measured_on(section):
    entry = PUBLISHED[section]
    assert entry["machine"]["cpu"] and entry["machine"]["cores"] and entry["date"]
    unneeded = {"gradio"} if section in ("gpu", "stable_diffusion") else set()  # the page need not be installed
    assert set(entry["versions"]) | unneeded == set(figures.LIBRARIES)
    assert ("gpu" in entry["machine"]) == (section == "gpu")
    assert entry["figures"].keys() <= figures.SECTIONS[section].keys()
    if section in ("bundled", "quick"):
        assert entry["weights"] in {revision(), *earlier()}


def test_table_writes_numbers_units_and_limits():
    entry = {
        "date": "2026-01-02",
        "machine": {"cpu": "Z80", "cores": 1, "memory_gib": 4},
        "versions": {"torch": "1"},
        "figures": {"picture_s": 1.234, "served_s": 8.04, "hover_plain_over_simd": 4.9, "kept_mb": 68.4},
    }
    assert figures.table("bundled", entry).splitlines() == [
        "Z80, 1 core, 4 GiB; 2026-01-02; torch 1.",
        "",
        "| | measured | limit |",
        "|---|---|---|",
        "| one picture, drawn and recorded | 1.2 s | ≤ 5 s |",
        "| from `python app.py` to a served page | 8.0 s | ≤ 8 s, missed |",
        "| repaints of all 25 steps without WebAssembly over those with it | 4.9× | ≥ 5×, missed |",
        "| kept of one run: Q and K | 68 MB |  |",
    ]


def test_report_prints_each_figure_and_keeps_other_sections(tmp_path, capsys):
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    file.write_text(json.dumps({"rivals": {"date": "then"}}))
    page.write_text("before\n<!-- figures: quick picture_s -->\nold\n<!-- end -->\nafter\n")
    report = figures.Report("quick")
    report.add_all([("picture_s", 7.00001), ("served_s", 2)])
    printed = capsys.readouterr().out
    assert "picture_s" in printed and "7.0 s" in printed and "≤ 5 s  MISSED" in printed
    assert printed.count("MISSED") == 1
    report.write(file, [page])
    written = json.loads(file.read_text())
    assert written["rivals"] == {"date": "then"}
    assert written["quick"]["figures"] == {"picture_s": 7.0, "served_s": 2.0}
    assert written["quick"]["weights"] == revision()
    assert "| one picture, drawn and recorded | 7.0 s | ≤ 5 s, missed |" in page.read_text()
    assert "old" not in page.read_text() and page.read_text().endswith("after\n")


def test_report_refuses_a_figure_it_does_not_know():
    with pytest.raises(KeyError, match="picture_seconds"):
        figures.Report("quick").add("picture_seconds", 1.0)


def test_alternate_advances_all_runs_step_by_step():
    done = []

    def run(name: str, steps: int):
        for step in range(steps):
            done.append((step, name))
            end_step()

    spent = alternate([lambda: run("a", 3), lambda: run("b", 2)])
    assert [step for step, _ in done] == [0, 0, 1, 1, 2]
    assert [len(each) for each in spent] == [4, 3] and all(step > 0 for each in spent for step in each)


def test_interval_of_a_median_holds_it_and_shrinks_with_more_numbers():
    generator = random.Random(7)
    few, many = ([generator.gauss(1, 0.1) for _ in range(count)] for count in (10, 1000))
    for numbers in (few, many):
        median, low, high = median_with_interval(numbers)
        assert median == statistics.median(numbers) and low < median < high
    assert high - low < 0.03 and abs(median - 1) < 0.02
    assert median_with_interval([2.0]) == [2, 2, 2]


def test_figure_with_an_interval_is_printed_with_it(tmp_path, capsys):
    report = figures.Report("quick")
    report.add("recorded_over_plain", [1.23456, 1.2, 1.3])
    assert "1.235 (1.200 to 1.300)" in (printed := capsys.readouterr().out) and "MISSED" in printed
    report.write(tmp_path / "figures.json", [])
    entry = json.loads((tmp_path / "figures.json").read_text())["quick"]
    assert entry["figures"] == {"recorded_over_plain": [1.235, 1.2, 1.3]}
    assert "| 1.235 (1.200 to 1.300) | ≤ 1.02, missed |" in figures.table("quick", entry)
