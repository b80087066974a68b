"""Each link in what people read leads to a file that is there, and to a heading of it."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.written import NAMES, anchors, in_english, in_korean, links

PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"})

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for link in links(page.read_text("utf-8")):
        path, _, place = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = page.parent / path if path else page
        if not target.exists() or (place and place not in anchors(target.read_text("utf-8"))):
            found.append(link)
    return found


@page_by_page
def test_its_links_lead_somewhere(page):
    assert broken(page) == []


@pytest.mark.parametrize(
    "link",
    ["missing.md", "sub/missing.md", "#no-such-heading", "page.md#nor-this", "#in-code", "../outside.md"],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path, link):
    page = tmp_path / "page.md"
    text = "# A page\n\n## `a` heading: 두 번째?\n\n```\n# in code\n```\n\n"
    text += "[fine](#a-heading-두-번째) `[code](none.md)` [twice](#a-page) "
    page.write_text(f"{text}[here](page.md#a-page) [there](https://example.com/#x) [broken]({link})\n", "utf-8")
    assert broken(page) == [link]


def test_the_pages_that_are_meant_are_there():
    assert {path for name in ("README", *NAMES) for path in (in_english(name), in_korean(name))} <= set(PAGES)
    assert {path.name.partition(".")[0] for path in (ROOT / "docs").glob("*.??.md")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_leads_to_each_page_and_each_page_to_its_other_language(name):
    assert f"docs/{name}.en.md" in links(in_english("README").read_text("utf-8"))
    assert f"docs/{name}.ko.md" in links(in_korean("README").read_text("utf-8"))
    english, korean = (set(links(page(name).read_text("utf-8"))) for page in (in_english, in_korean))
    assert {f"{name}.ko.md", "../README.md"} <= english and {f"{name}.en.md", "../README.ko.md"} <= korean


@pytest.mark.parametrize("name", ["README", *NAMES])
def test_a_page_leads_to_pages_of_its_own_language(name):
    for page, other in ((in_english(name), "ko"), (in_korean(name), "en")):
        crossing = [link for link in links(page.read_text("utf-8")) if f".{other}.md" in link]
        assert len(crossing) <= 1, crossing  # the one to the same page in the other language
