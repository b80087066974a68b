"""The pages that people read, in two languages, and what stands in them: code, tables, links, headings."""

import re
from pathlib import Path

from tests.conftest import ROOT

NAMES = ("api", "hosting", "models", "prompt", "publishing", "settings", "troubleshooting", "tutorial")


def in_english(name: str) -> Path:
    """Return a page of docs/, or for "README" the project's own."""
    return ROOT / "README.md" if name == "README" else ROOT / "docs" / f"{name}.en.md"


def in_korean(name: str) -> Path:
    return ROOT / "README.ko.md" if name == "README" else ROOT / "docs" / f"{name}.ko.md"


def block(page: Path, language: str, word: str = "") -> str:
    """Return the one fenced block in a language that holds a word, as it is written."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    [code] = [code for code in blocks if word in code]
    return str(code)


def tables(page: Path, first_cell: str) -> list[dict[str, list[str]]]:
    """Return the rows of each table whose first heading is `first_cell`, by the name in their first cell."""
    found: list[dict[str, list[str]]] = []
    lines = iter([*page.read_text("utf-8").splitlines(), ""])
    for line in lines:
        if not line.startswith(f"| {first_cell} |"):
            continue
        next(lines)
        rows: dict[str, list[str]] = {}
        while (line := next(lines)).startswith("|"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[name.strip("`")] = cells
        found.append(rows)
    return found


def table(page: Path, first_cell: str) -> dict[str, list[str]]:
    """Return the rows of the one table whose first heading is `first_cell`."""
    [rows] = tables(page, first_cell)
    return rows


def links(text: str) -> list[str]:
    """Return where the links and pictures of a Markdown text lead, but for those in code."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'\b(?:src|href)="([^"]+)"', prose)


def anchors(text: str) -> set[str]:
    """Return what links can name after `#`: GitHub's form of each heading, which the Hub has, too."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        same = [anchor, *(f"{anchor}-{number}" for number in range(1, 99))]
        found.add(next(name for name in same if name not in found))
    return found
