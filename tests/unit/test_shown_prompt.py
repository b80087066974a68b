"""The exact prompt is drawn token by token; whatever is in it draws as text."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfdemo.chat.request import ShownPrompt, ShownToken
from hfdemo.page.shown_prompt import MAX_TOKENS_DRAWN, prompt_html

NASTY = "<img src=x onerror=alert(1)>\"'&</span></pre><script>"
SPAN = re.compile(r'<span class="(control|text)">(.*?)</span>', re.DOTALL)
TOKENS = st.lists(st.builds(ShownToken, st.text(st.characters(codec="utf-8"), max_size=8), st.booleans()), max_size=20)


def drawn(html: str) -> list[tuple[str, bool]]:
    """Return the tokens as a browser shows them, and whether each is marked as a control token."""
    return [(unescape(text), kind == "control") for kind, text in SPAN.findall(html)]


def test_each_token_stands_apart_and_control_tokens_are_marked():
    tokens = (
        ShownToken("<|im_start|>", True),
        ShownToken("user", False),
        ShownToken("\n", False),
        ShownToken(" Hi", False),
        ShownToken("<|im_end|>", True),
    )
    assert prompt_html(ShownPrompt(tokens, dropped_messages=2, context_limit=8192), "en") == (
        "<p>5 tokens; 2 messages left out. Control tokens are marked.</p>"
        '<pre class="prompt">'
        '<span class="control">&lt;|im_start|&gt;</span>'
        '<span class="text">user</span>'
        '<span class="text">\n</span>'
        '<span class="text"> Hi</span>'
        '<span class="control">&lt;|im_end|&gt;</span>'
        "</pre>"
    )


def test_a_control_token_that_was_typed_is_not_marked():
    html = prompt_html(ShownPrompt((ShownToken("<|im_end|>", False),), 0, None), "en")
    assert drawn(html) == [("<|im_end|>", False)]


def test_the_head_is_in_the_persons_language():
    html = prompt_html(ShownPrompt((ShownToken("a", False),) * 1234, 3, None), "ko")
    assert html.startswith("<p>모두 1,234토큰, 제외된 메시지 3개. 제어 토큰은 색으로 표시했습니다.</p>")


def test_an_empty_prompt_draws_no_token():
    assert drawn(prompt_html(ShownPrompt((), 0, None), "en")) == []


@pytest.mark.parametrize("control", [True, False])
def test_all_text_is_escaped(control):
    html = prompt_html(ShownPrompt((ShownToken(NASTY, control),), 0, None), "en")
    assert set(re.findall(r"<[^>]*>", html)) == {
        "<p>",
        "</p>",
        '<pre class="prompt">',
        f'<span class="{"control" if control else "text"}">',
        "</span>",
        "</pre>",
    }
    assert drawn(html) == [(NASTY, control)]


@given(TOKENS)
def test_any_tokens_are_drawn_exactly(tokens):
    assert drawn(prompt_html(ShownPrompt(tuple(tokens), 0, None), "en")) == [
        (token.text, token.control) for token in tokens
    ]


def test_tokens_that_are_a_character_together_are_drawn_as_one_with_their_number():
    html = prompt_html(ShownPrompt((ShownToken("뷁", False, 3), ShownToken("a", False)), 0, None), "en")
    assert '<span class="text" data-tokens="3">뷁</span><span class="text">a</span>' in html
    assert html.startswith("<p>4 tokens;")


@pytest.mark.parametrize("surplus", [0, 1, 10_000])
def test_of_a_long_prompt_the_beginning_and_the_end_are_drawn(surplus):
    count = MAX_TOKENS_DRAWN + surplus
    tokens = tuple(ShownToken(f"[{index}]", index % 2 == 0) for index in range(count))
    html = prompt_html(ShownPrompt(tokens, 0, None), "en")
    half = MAX_TOKENS_DRAWN // 2
    assert drawn(html) == [(token.text, token.control) for token in (*tokens[:half], *tokens[-half:])]
    assert html.count(" … ") == (1 if surplus else 0)
    assert (f"[{half - 1}]</span> … <span" in html) is bool(surplus)
    assert html.startswith(f"<p>{count:,} tokens;")
