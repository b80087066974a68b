"""A dollar sign is a price or a formula, and a formula is drawn only if that costs nothing."""

import time

import pytest

from hfdemo.page.formulas import MAX_CHARS, can_be_drawn
from hfdemo.page.markdown import FORMULA_MARKS, draw_markdown


def formulas(text: str) -> list[str]:
    """Return what is drawn as a formula."""
    html, found = draw_markdown(text, "en"), []
    for before, after in FORMULA_MARKS.values():
        found += [part.split(after)[0] for part in html.split(before)[1:]]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "$5 and $10",
        "between $5 and $10.",
        "$5-$10, $5\u2013$10, $5~$10, $5/$10, $1,000-$2,000",
        "It costs $5, or 10$ with tax.",
        "$5, 10$",
        "from 5$ to 10$",
        "$5M to $10M, $5k-$10k",
        "**$5** or **$10**",
        "($5) and ($10)",
        "US$5 \u2013 US$7, A$5/C$7",
        "R$ 5,00 a R$ 10,00; R$5 ou R$10; R$5 e US$ 7",
        "entre $ 5 y $ 10",
        "$5, R$ 10",
        "$5; US$ 7, $3 / A$ 4",
        "$10, \u20a91,000, R$ 5,00",
        "$5, \u20ac4, $ and $3, \u00a32 or $",
        "$5에서 $10까지",
        "$5~$10, $5와 $10 사이, 5$에서 10$까지",
        "$5(약 7,000원)에서 10$까지",
        "₩1,000~₩2,000, 1,000원~2,000원",
        "가격$5~$10, 약$5, $6; 약$5와 약$10, 총$5-총$10",
        "价格为$5\uff0c税为$3。从$5到$10\uff0c约$5\uff08原价$10\uff09",
        "$HOME/bin:$PATH, $HOME and $PATH, echo $A$B",
        "$PATH:$HOME, $PATH/$HOME, $AB$CD, $the$, $ABCDE$",
        "${DB_HOST}:${DB_PORT}, ${APP_NAME}-${VERSION}, ${a}_${b}, ${x}${y}, $_GET/$_POST",
        "The price is $5 (`$` is the sign); $x`$`",
        "Use $$ or `$$` here",
        r"\( or `\)`, \[ or `\]`",
        "Price range: $$ - $$$, $$\u2013$$$, $$/$$$, $$ or $$$",
        "Cheap ($), medium ($$), expensive ($$$)",
        "- Sushi ($$) / Pizza ($$)",
        "- 초밥 ($$), 피자 ($$); $$ or $$",
        "echo $$; kill $$",
        "$ x $",
        r"\$x\$ and \$5",
        r"$5 or \$6 or $7; $x\$ and \$y$ or $x\\\$",
        "`$x$` and $",
        "```\n$x$\n```",
        "$5 is not 7$ here",
        "$값$",
        "$$",
        "$$$$",
        r"\(\)",
        "$x",
        "x$y$",
    ],
)
def test_prices_and_what_else_has_a_dollar_are_no_formulas(text):
    assert formulas(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x^2$", ["x^2"]),
        ("$x$ and $y$", ["x", "y"]),
        ("$x^2$은 제곱, $a$와 $b$", ["x^2", "a", "b"]),
        ("$x$, ($y$); $z$.", ["x", "y", "z"]),
        ("$ABC$의 $AB$, $ABCD$, $xy$ and $dx$", ["ABC", "AB", "ABCD", "xy", "dx"]),
        ("값은$x$입니다. 문제에서$x=3$이고, $x$와$y$", ["x", "x=3", "x", "y"]),
        ("设$x$为实数\uff0c则$f(x)=x^2$的最小值为$0$。", ["x", "f(x)=x^2", "0"]),
        (r"$\frac{1}{2}$-th", [r"\frac{1}{2}"]),
        (r"$9 \times \$2 = \$18$. Cost: $\$18$. $\$$", [r"9 \times \$2 = \$18", r"\$18", r"\$"]),
        (r"$\text{값} = 5$", [r"\text{값} = 5"]),
        ("$5$ apples and $n$ pears", ["5", "n"]),
        ("$A$ 5 times, $2R$ and $R$ 3", ["A", "2R", "R"]),
        ("$2 + 3 = 5$", ["2 + 3 = 5"]),
        ("$f(x) = 2x$, $\u03b1$", ["f(x) = 2x", "\u03b1"]),
        ("$E = mc^2$", ["E = mc^2"]),
        ("$a<b$", ["a&lt;b"]),
        (r"\(x\) and \[y\]", ["x", "y"]),
        ("$$x$$", ["x"]),
        ("so $$ABC$$, $$ax + by$$, $$ 넓이 = 2 $$", ["ABC", "ax + by", "넓이 = 2"]),
        (r"so $$\text{a word}$$", [r"\text{a word}"]),
        ("$$\na\nb\n$$", ["a&#10;b"]),
        ("\\[\na\n\\]", ["a"]),
        ("costs $5, and $x$ is a formula", ["x"]),
        ("- $$x$$\n- $y$", ["y", "x"]),
        ("> $$\n> x\n> $$", ["x"]),
        ("| $a$ | b |\n|--|--|\n| $c$ | $5 |", ["a", "c"]),
    ],
)
def test_formulas_are_formulas(text, expected):
    assert formulas(text) == expected


@pytest.mark.parametrize(
    "formula",
    [
        r"\frac{1}{" * 200 + "x" + "}" * 200,
        "{" * 13 + "}" * 13,
        r"\sqrt" * 21 + " x",
        r"\left(" * 13 + r"\right)" * 13,
        r"\begin{matrix}" * 13 + r"\end{matrix}" * 13,
        "x" * (MAX_CHARS + 1),
        r"\def\a{\a\a}\a",
        r"\rule{1em}{1em}",
        r"\href{https://example.org}{x}",
        r"\includegraphics{x}",
        r"x\hspace{100em}y",
        r"x\\[-20ex]y",
        r"x\hspace*{ -20.5 em}y",
        r"x\hskip{100em}y",
        r"x\mskip\empty 99mu y",
        r"x\@hspace{{10pt}}y",
        r"x\hskip 1\empty 0em",
        r"{x \above 20pt y}",
        r"\tmspace+{100mu}{10em}",
        r"x\expandafter\\\empty[50em]y",
        r"\genfrac{}{}{20pt}{}{x}{y}",
        "{",
        "}{",
    ],
    ids=lambda formula: formula[:20],
)
def test_what_is_deep_long_or_leaves_its_place_is_not_drawn(formula):
    assert not can_be_drawn(formula)


@pytest.mark.parametrize(
    "formula",
    [
        r"\frac{a}{b} + \sqrt{x^2 + y_{i_j}}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
        r"\left\{ \frac{1}{\left( x \right)} \right\}",
        r"\alpha\beta\gamma\delta\quad\text{if } x",
        r"\{ x \} \hspace{1em} y",
        r"10cm \times 20cm = 200cm^2",
        r"\text{Area} = \text{12 cm} \times 5 \\[1ex] 10 mm",
        r"\text{There are 20 in each} \hspace{1em} 30 in",
        r"x \hskip1em y \hspace*{ -0.5cm } {a \above{1pt} b}",
        r"\begin{aligned} a &= 1 \\ 12 cm &= b \end{aligned}",
        r"\lim_{n \to \infty} \sum_{k=1}^{n} \frac{1}{k^2} = \frac{\pi^2}{6}",
    ],
)
def test_usual_formulas_are_drawn(formula):
    assert can_be_drawn(formula)


def test_a_formula_that_is_not_drawn_is_shown_as_it_was_written():
    formula = r"\frac{1}{" * 200
    assert f">$${formula}$$<" in draw_markdown(f"$${formula}$$", "en")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"$x = 10% \times 5$, $10%$", [r"x = 10\%{} \times 5", r"10\%{}"]),
        (r"\(50% of 200\)", [r"50\%{} of 200"]),
        (r"$$\text{100%}$$", [r"\text{100\%{}}"]),
        (r"$50\%$, $a \\% b$", [r"50\%", r"a \\\%{} b"]),
    ],
)
def test_a_percent_sign_is_one_and_begins_no_comment(text, expected):
    assert formulas(text) == expected


@pytest.mark.parametrize(
    "piece", [r"\\[", r"\hskip ", "%", "{", "}", "\\", r"\a", r"\left", r"\sqrt ", "1", "{}", r"\def", " "]
)
def test_any_formula_is_judged_at_once(piece):
    start = time.perf_counter()
    can_be_drawn(piece * 1900)
    can_be_drawn((piece * 2000)[:MAX_CHARS])
    assert time.perf_counter() - start < 0.5
