"""What the benchmarks' tables are made with."""

import json
import random

import pytest

from benchmarks import report
from benchmarks.report import percentile, publish, put_between_marks, spread, table


def test_a_spread_holds_the_median_and_both_ends():
    found = spread([5.0, 1.0, 3.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 5.0)
    assert spread([1.0, 2.0, 3.0, 10.0]).median == 2.5


def test_a_spread_reads_as_median_and_range_and_a_single_value_alone():
    assert spread([0.126, 0.1, 0.15]).text() == "0.13 (0.10 to 0.15)"
    assert spread([1234.5]).text(1) == "1,234.5"
    assert spread([2.0, 4.0]).text(0) == "3 (2 to 4)"


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 5), (51, 6), (90, 9), (99, 10), (100, 10)])
def test_a_percentile_is_one_of_the_values(percent, expected):
    assert percentile([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], percent) == expected


def test_a_percentile_of_one_value_is_that_value():
    assert percentile([7.5], 50) == percentile([7.5], 99) == 7.5


def test_a_table_has_a_head_a_rule_and_a_line_for_each_row():
    assert table(["Name", "Rate"], [["a", 1], ["b", "2.5"]]) == "\n".join(
        ["| Name | Rate |", "| --- | --: |", "| a | 1 |", "| b | 2.5 |"]
    )


def place(name: str, text: str) -> str:
    return f"<!-- {name}: written by the benchmark -->\n{text}\n<!-- {name}: end -->"


def test_only_what_is_between_the_marks_is_replaced():
    page = f"before\n{place('one', 'old')}\nbetween\n{place('two', 'other')}\nafter"
    changed = put_between_marks(page, "one", "new\nlines")
    assert changed == f"before\n{place('one', 'new' + chr(10) + 'lines')}\nbetween\n{place('two', 'other')}\nafter"
    assert put_between_marks(changed, "one", "old") == page


@pytest.mark.parametrize("page", ["nothing", "<!-- one: written by the benchmark -->", "<!-- one: end -->"])
def test_a_page_without_the_marks_is_refused(page):
    with pytest.raises(ValueError, match="one"):
        put_between_marks(page, "one", "text")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(place("one", "old"), "utf-8")
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    return tmp_path


def test_enough_runs_are_kept_with_the_machine_and_the_versions(folder):
    publish("one", "| the table |", {"raw": [1]}, runs=5, note="llama-cpp-python 9.9")
    page = (folder / "README.md").read_text("utf-8")
    assert "| the table |" in page
    assert "old" not in page
    assert "cores" in page
    assert "transformers" in page
    assert "llama-cpp-python 9.9" in page
    assert "5 runs" in page
    kept = json.loads(next((folder / "results").glob("*/one.json")).read_text("utf-8"))
    assert kept["runs"] == 5
    assert kept["results"] == {"raw": [1]}
    assert "llama-cpp-python 9.9" in kept["machine"]


def test_other_processors_keep_what_they_found(folder, monkeypatch):
    for name, text in (("CPU (amx)", "fast"), ("CPU", "slow"), ("CPU (amx)", "faster")):
        monkeypatch.setattr(report, "processor", lambda name=name: name)
        publish("one", text, {"raw": text}, runs=5)
    page = (folder / "README.md").read_text("utf-8")
    assert [page.count(text) for text in ("old", "fast\n", "slow\n", "faster\n")] == [0, 0, 1, 1]
    assert page.index("<!-- on CPU (amx) -->\nfaster") < page.index("<!-- on CPU -->\nslow")
    kept = {path.parent.name: json.loads(path.read_text("utf-8"))["results"] for path in folder.rglob("one.json")}
    assert kept == {"cpu-amx": {"raw": "faster"}, "cpu": {"raw": "slow"}}


def test_a_few_runs_are_shown_and_not_kept(folder, capsys):
    publish("one", "| the table |", {}, runs=4)
    assert "| the table |" in capsys.readouterr().out
    assert (folder / "README.md").read_text("utf-8") == place("one", "old")
    assert not (folder / "results").exists()


def test_the_readme_has_a_place_for_each_benchmark_that_keeps_a_table():
    page = (report.FOLDER / "README.md").read_text("utf-8")
    sources = [path.read_text("utf-8") for path in report.FOLDER.glob("*.py")]
    for name in ("single", "turns", "crowd", "page", "start", "memory", "prediction", "quality", "repeats"):
        assert put_between_marks(page, name, "x") != page
        assert any("publish(" in source and f'"{name}"' in source for source in sources), name


def test_samples_of_one_source_are_told_from_those_of_two():
    dice = random.Random(3)
    one, same = ([dice.gauss(10, 1) for _ in range(250)] for _ in range(2))
    shifted = [dice.gauss(10.5, 1) for _ in range(250)]
    assert report.same_source(one, same) > 0.05
    assert report.same_source(one, shifted) < 0.001
    assert report.same_source(one, one) == 1.0


def test_the_probability_is_that_of_the_tables():
    """The critical distance for two samples of 100 at 5 % is 1.358 * sqrt(2 / 100) = 0.192."""
    one = [float(n) for n in range(100)]
    assert report.same_source(one, [value + 19.5 for value in one]) == pytest.approx(0.04, abs=0.015)
