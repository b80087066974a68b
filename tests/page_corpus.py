"""Replies that a browser finds hard to draw: 25 kinds in three sizes, none longer than 100 kB."""

LONGEST_TASK = """() => {
    window.longest = 0
    new PerformanceObserver(list => list.getEntries().forEach(task => {
        window.longest = Math.max(window.longest, task.duration)
    })).observe({ type: "longtask" })
}"""
"""Begins to keep in `longest` how many ms the longest task of the page took; less than 50 are not told."""

SIZES = (1_000, 10_000, 100_000)


def _repeat(piece: str, size: int) -> str:
    return piece * max(1, size // len(piece.encode()))


def _nested(before: str, inside: str, after: str, size: int) -> str:
    """Return something in itself, as deep as fits."""
    times = (size - len(inside)) // (len(before) + len(after))
    return before * times + inside + after * times


def _stairs(piece: str, size: int) -> str:
    """Return lines of which each is one step deeper than the line before."""
    lines, left, depth = [], size, 1
    while left > 0:
        lines.append(f"{piece * depth}x")
        left -= len(lines[-1]) + 1
        depth += 1
    return "\n".join(lines)


def _table(columns: int, size: int) -> str:
    row = "|" + "a|" * columns + "\n"
    return row + "|" + "-|" * columns + "\n" + _repeat(row, size - 2 * len(row))


KINDS = {
    "prose": lambda size: _repeat("Plain words in **bold** and `code`, as most replies have them.\n\n", size),
    "fractions in each other": lambda size: "$$" + _nested("\\frac{1}{", "x", "}", size - 4) + "$$",
    "roots without braces": lambda size: "$$" + _repeat("\\sqrt", size - 5) + " x$$",
    "brackets in each other": lambda size: "$$" + _nested("\\left(", "x", "\\right)", size - 4) + "$$",
    "many formulas": lambda size: _repeat("$x_1^2+\\alpha$ and ", size),
    "a matrix": lambda size: "$$\\begin{matrix}" + _repeat("1 & 2 & 3 \\\\ ", size - 30) + "\\end{matrix}$$",
    "bold that never ends": lambda size: _repeat("**a ", size),
    "emphasis in each other": lambda size: _nested("*a **b ", "x", "** c*", size),
    "signs": lambda size: _repeat("*_`[~$](<", size),
    "brackets of links": lambda size: _repeat("[", size // 2) + _repeat("](x)", size // 2),
    "formulas that never end": lambda size: _repeat("\\[\n", size),
    "tables whose rows leave cells out": lambda size: _repeat(
        "|" * 190 + "\n" + "|-" * 189 + "|\n" + "c\n" * 18 + "\n", size
    ),
    "words as Java": lambda size: (
        "```java\n" + _repeat("a ", min(size, 9_900)) + "\n```\n" + _repeat("word ", size - 10_000)
    ),
    "quotes as reStructuredText": lambda size: "```rst\n" + _repeat("`a <b", min(size, 9_900)) + "\n```\n",
    "a long table": lambda size: _table(3, size),
    "a wide table": lambda size: _table(size // 6, size),
    "quotes": lambda size: _stairs("> ", size),
    "lists": lambda size: _stairs("  ", size).replace("x", "- x"),
    "a long list": lambda size: _repeat("- a\n", size),
    "paragraphs": lambda size: _repeat("a\n\n", size),
    "code": lambda size: "```cpp\n" + _repeat("std::vector<int> v = {1, 2}; // two\n", size - 11) + "```\n",
    "combining marks": lambda size: "a" + _repeat("\u0301", size),
    "directions": lambda size: _repeat("\u202ea\u2067א\u202b1 ", size),
    "a long line": lambda size: _repeat("x", size),
    "a long line of Thai": lambda size: _repeat("ภาษาไทย", size),
}

CORPUS = {(kind, size): make(size) for kind, make in KINDS.items() for size in SIZES}
