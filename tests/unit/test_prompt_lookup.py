"""Drafts come from what stood before; they are made where they save time, and cost next to nothing elsewhere."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from hfdemo.compute.step import LONGEST_DRAFT
from hfdemo.decoding.prompt_lookup import CONSIDERED_TOKENS, PromptLookup, Speculation


def draft(ids: Sequence[int], tokens: int = 4) -> list[int]:
    return PromptLookup(ids).find(tokens)[1]


class TestADraft:
    def test_is_what_followed_the_last_three_tokens(self):
        assert PromptLookup([7, 1, 2, 3, 4, 5, 6, 8, 9, 1, 2, 3]).find(4) == (3, [4, 5, 6, 8])

    def test_is_what_followed_the_last_two_where_three_never_stood(self):
        assert PromptLookup([7, 1, 2, 3, 4, 5, 6, 8, 2, 3]).find(3) == (2, [4, 5, 6])

    @pytest.mark.parametrize("ids", [[], [1], [1, 2], [1, 2, 3, 4, 5], [1, 2, 3, 9, 3]])
    def test_is_empty_where_the_last_two_never_stood(self, ids):
        assert PromptLookup(ids).find(4) == (0, [])

    def test_comes_from_the_latest_place(self):
        assert draft([1, 2, 3, 4, 9, 1, 2, 3, 5, 8, 1, 2, 3], 2) == [5, 8]

    def test_goes_on_at_the_place_of_the_one_before_as_long_as_that_is_right(self):
        ids = [1, 2, 3, 4, 5, 6, 7, 8, 0, 5, 6, 7, 0, 0, 2, 3, 4]
        lookup = PromptLookup(ids)
        assert lookup.find(2) == (3, [5, 6])
        ids += [5, 6, 7]
        assert lookup.find(2) == (3, [8, 0])
        ids += [0]
        assert lookup.find(2) == (3, [0, 2])

    @pytest.mark.parametrize(("ids", "expected"), [([5, 5, 5], [5, 5, 5, 5]), ([1, 2, 3, 1, 2, 3], [1, 2, 3, 1])])
    def test_repeats_what_has_begun_to_repeat_itself(self, ids, expected):
        assert draft(ids) == expected

    def test_is_the_same_whether_the_text_came_at_once_or_token_by_token(self):
        whole = random.Random(1).choices(range(6), k=300)
        grown: list[int] = []
        lookup = PromptLookup(grown)
        for token_id in whole:
            grown.append(token_id)
            size, found = lookup.find(4)
            assert size == PromptLookup(grown).find(4)[0]
            assert not size or grown[-size:] in [grown[at : at + size] for at in range(len(grown) - size)]
            assert len(found) == (4 if size else 0)


@dataclass
class Written:
    seconds: float
    """In steps of one token."""
    drafts: int
    is_over: bool


def write(prompt: Sequence[int], reply: Sequence[int], slope: float, busy_at: int = 0) -> Written:
    """Write a reply with drafts; each token more than one takes so much of a step, and one draft takes much longer."""
    ids, seconds, drafts = list(prompt), 0.0, 0
    speculation = Speculation(ids)
    end = len(ids) + len(reply)
    while len(ids) < end:
        left = reply[len(ids) - len(prompt) :]
        found = speculation.draft(min(LONGEST_DRAFT, len(left) - 1))
        right = next((n for n, (one, other) in enumerate(zip(found, left, strict=False)) if one != other), len(found))
        drafts += bool(found)
        step_s = 1 + slope * len(found) + (9 if found and drafts == busy_at else 0)
        ids += left[: right + 1]
        speculation.took(len(found), right + 1, step_s)
        seconds += step_s
    return Written(seconds, drafts, speculation.is_over)


def text(tokens: int, words: int = 50_000, seed: int = 1) -> list[int]:
    return random.Random(seed).choices(range(words), k=tokens)


class TestSpeculation:
    @pytest.mark.parametrize(("slope", "times"), [(0.1, 2.9), (0.2, 2.3), (0.3, 1.9), (0.4, 1.6)])
    def test_saves_time_where_a_reply_repeats_half_of_its_prompt(self, slope, times):
        prompt = text(400)
        assert 200 / write(prompt, prompt[100:300], slope).seconds > times

    @pytest.mark.parametrize("slope", [0.1, 0.3, 0.5])
    def test_saves_time_where_a_copy_is_changed_here_and_there(self, slope):
        prompt = text(400)
        reply = prompt[100:300]
        for at in range(11, 200, 23):
            reply[at] = 60_000 + at
        assert write(prompt, reply, slope).seconds < 0.9 * 200

    def test_makes_no_draft_where_nothing_is_repeated(self):
        assert write(text(400), text(200, seed=2), 0.3) == Written(200, 0, False)

    @pytest.mark.parametrize("slope", [0.1, 0.25, 0.5, 1.0])
    @pytest.mark.parametrize("words", [4, 12, 40])
    def test_costs_next_to_nothing_where_what_is_repeated_foretells_nothing(self, slope, words):
        for seed in range(20):
            found = write(text(300, words, seed), text(200, words, seed + 100), slope)
            assert found.seconds <= 200 / 0.98

    @pytest.mark.parametrize("slope", [0.1, 0.25, 0.5, 1.0])
    def test_costs_next_to_nothing_where_drafts_are_wrong_once_they_are_trusted(self, slope):
        prompt = text(400)
        reply = prompt[20:36] + [number for at in range(40, 390, 5) for number in (*prompt[at : at + 3], 60_000 + at)]
        assert write(prompt, reply, slope).seconds <= len(reply) / 0.98

    def test_makes_few_where_reading_several_tokens_takes_as_long_as_reading_each(self):
        prompt = text(600)
        found = write(prompt, prompt[100:500], slope=1.0)
        assert 0 < found.drafts <= 4 and found.seconds <= 400 / 0.98

    def test_is_not_misled_by_a_machine_that_was_busy_during_a_step(self):
        prompt = text(400)
        assert 200 / write(prompt, prompt[100:300], 0.3, busy_at=1).seconds > 1.6

    def test_is_over_after_some_tokens_if_it_did_not_pay(self):
        ids = text(200)
        speculation = Speculation(ids)
        speculation.took(0, 1, 1.0)
        while not speculation.draft(4):
            ids.append(ids[len(ids) - 150])
        speculation.took(2, 1, 9.0)
        ids += text(CONSIDERED_TOKENS - 1, seed=3)
        speculation.draft(4)
        assert not speculation.is_over
        ids.append(1)
        assert not speculation.draft(4) and speculation.is_over

    @pytest.mark.parametrize("most", [-1, 0, 1])
    def test_makes_no_draft_of_a_single_token(self, most):
        ids = [*range(9), *range(7)]
        speculation = Speculation(ids)
        speculation.took(0, 1, 1.0)
        for token_id in range(7, 9):
            speculation.draft(4)
            ids.append(token_id)
        assert not speculation.draft(most)

    def test_makes_none_before_it_knows_how_long_a_step_takes(self):
        ids = [*range(50)]
        speculation = Speculation(ids)
        for token_id in range(40):
            ids.append(token_id)
            assert not speculation.draft(4)
        speculation.took(0, 1, 1.0)
        assert speculation.draft(4) == [40, 41, 42, 43]
