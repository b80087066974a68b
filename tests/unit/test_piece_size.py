"""The pieces of a prompt take about the time that is allowed, on any machine."""

import pytest

from hfdemo.decoding.piece_size import LEAST_TOKENS, MOST_TOKENS, PieceSize


@pytest.mark.parametrize(("tokens_per_s", "expected"), [(20, 32), (300, 128), (1024, 256), (50_000, 8192)])
def test_a_machine_finds_its_size_and_keeps_it(tokens_per_s, expected):
    size, sizes = PieceSize(256, 0.25), []
    for _ in range(20):
        size.took(size.tokens, size.tokens / tokens_per_s)
        sizes.append(size.tokens)
    assert set(sizes[10:]) == {expected}


@pytest.mark.parametrize("other", [0.55, 1.8])
def test_other_work_on_the_machine_changes_nothing(other):
    size = PieceSize(256, 0.25)
    size.took(256, 0.25 * other)
    assert size.tokens == 256


def test_the_rest_of_a_prompt_tells_only_of_too_much():
    size = PieceSize(256, 0.25)
    size.took(3, 0.01)
    assert size.tokens == 256
    size.took(200, 0.6)
    assert size.tokens == 128


def test_it_stays_within_bounds():
    size = PieceSize(64, 1.0)
    for _ in range(30):
        size.took(size.tokens, 9.0)
    assert size.tokens == LEAST_TOKENS
    for _ in range(30):
        size.took(size.tokens, 0.0)
    assert size.tokens == MOST_TOKENS
