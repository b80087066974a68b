"""A token is chosen as transformers' own processors would choose it."""

from collections import Counter

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hfdemo.chat.options import Options
from hfdemo.decoding.sampling import candidates, choose_token
from hfdemo.errors import GenerationFailed

VOCABULARY = 5000


def logits_of(seed: int, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def stock(logits: torch.Tensor, options: Options) -> torch.Tensor:
    """Return the probabilities that `generate` draws from."""
    warpers = [TemperatureLogitsWarper(options.temperature)]
    if options.top_k:
        warpers.append(TopKLogitsWarper(options.top_k))
    if options.top_p < 1:
        warpers.append(TopPLogitsWarper(options.top_p))
    if options.min_p:
        warpers.append(MinPLogitsWarper(options.min_p))
    return LogitsProcessorList(warpers)(None, logits[None].clone())[0].softmax(0)


@pytest.mark.parametrize("top_k", [0, 1, 50, 1000])
@pytest.mark.parametrize("top_p", [0.0, 0.1, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("min_p", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(("temperature", "spread"), [(0.05, 3.0), (0.7, 3.0), (2.0, 0.1)])
def test_the_same_tokens_are_as_likely(top_k, top_p, min_p, temperature, spread):
    options = Options(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
    logits = logits_of(3, spread)
    likely, tokens = candidates(logits / temperature, options)
    found = torch.zeros(VOCABULARY).index_put((tokens,), likely / likely.sum())
    torch.testing.assert_close(found, stock(logits, options), rtol=1e-3, atol=1e-6)


def test_min_p_alone_keeps_what_is_likely_enough():
    scores = torch.tensor([0.5, 0.3, 0.11, 0.05, 0.04]).log()
    likely, tokens = candidates(scores, Options(top_p=1, top_k=0, min_p=0.2))
    assert tokens[likely > 0].tolist() == [0, 1, 2]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    options, logits = Options(temperature=0.9, top_p=0.8, top_k=20), logits_of(5)
    random = torch.Generator().manual_seed(1)
    drawn = Counter(choose_token(logits, options, None, random) for _ in range(4000))
    expected = stock(logits, options)
    assert set(drawn) <= set(expected.nonzero().flatten().tolist())
    for token, count in drawn.items():
        assert count / 4000 == pytest.approx(float(expected[token]), abs=0.04)


def test_a_seed_draws_the_same_again_whatever_else_is_drawn():
    options, logits = Options(temperature=1.5, top_p=1, top_k=0), logits_of(6)

    def draw(seed: int) -> list[int]:
        random = torch.Generator().manual_seed(seed)
        torch.rand(3)
        return [choose_token(logits, options, None, random) for _ in range(20)]

    assert draw(7) == draw(7) != draw(8)


@pytest.mark.parametrize("temperature", [0.0, 0.009])
def test_greedy_takes_the_most_likely(temperature):
    logits = logits_of(4)
    assert choose_token(logits, Options(temperature=temperature), None, torch.Generator()) == logits.argmax()


@pytest.mark.parametrize("penalty", [0.5, 1.3, 2.0])
def test_what_was_said_is_penalised_as_transformers_does(penalty):
    logits, seen = logits_of(9), logits_of(9).topk(30).indices
    expected = RepetitionPenaltyLogitsProcessor(penalty)(seen[None], logits[None].clone())[0].argmax()
    options = Options(temperature=0, repetition_penalty=penalty)
    assert choose_token(logits, options, torch.cat([seen, seen]), torch.Generator()) == expected


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("options", [Options(temperature=0), Options(temperature=1)])
def test_logits_that_are_no_numbers_end_the_reply(bad, options):
    logits = logits_of(1)
    logits[77] = bad
    with pytest.raises(GenerationFailed, match="number"):
        choose_token(logits, options, None, torch.Generator())
