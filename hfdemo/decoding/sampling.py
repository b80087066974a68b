"""From a model's logits to the next token, as transformers' own processors would choose it, in a tenth of their time.

They sort the whole vocabulary for each token. Here only the candidates are sorted that may be chosen at all.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hfdemo.chat.options import Options
from hfdemo.errors import GenerationFailed

GREEDY_BELOW = 0.01
"""Lower temperatures are greedy: dividing by them overflows, and no one could tell the difference."""

CANDIDATES = 1024
"""How many top tokens to try first when only `top_p` applies; nearly always enough."""


Sampler = Callable[[Tensor, Sequence[int]], int]
"""`sample(logits, ids) -> id`: from logits of shape [vocabulary], and the tokens of prompt and reply so far, to the
next token. It raises `GenerationFailed` if the logits contain NaN or infinity."""


def make_sampler(options: Options, seed: int) -> Sampler:
    """Return what chooses the tokens of one reply.

    Args:
        options: the visitor's; all that bear on the choice are honoured here, for every way to step a model.
        seed: of the random numbers of this reply alone.
    """
    generator = torch.Generator()
    generator.manual_seed(seed)

    def sample(logits: Tensor, ids: Sequence[int]) -> int:
        seen = torch.tensor(ids, device=logits.device) if options.repetition_penalty != 1 else None
        return choose_token(logits, options, seen, generator)

    return sample


def is_greedy(options: Options) -> bool:
    """Tell whether the most likely token is always taken."""
    return options.temperature < GREEDY_BELOW


def check_finite(greatest: Tensor) -> None:
    """Raise an error for logits that are no longer finite; greedy decoding would write token 0 for ever.

    Args:
        greatest: of the logits; it is NaN if any of them is.

    Raises:
        GenerationFailed: it is NaN or plus infinity.
    """
    if not greatest < math.inf:
        raise GenerationFailed("not_a_number")


def choose_token(logits: Tensor, options: Options, seen: Tensor | None, generator: torch.Generator) -> int:
    """Return the next token.

    Args:
        logits: of the vocabulary, of shape [vocabulary], in any type of numbers.
        options: the visitor's.
        seen: the tokens of prompt and reply so far, for the repetition penalty; None without one.
        generator: of the random numbers of this reply alone, on the CPU, so that a seed means the same everywhere.

    Raises:
        GenerationFailed: the logits contain NaN or infinity.
    """
    if seen is not None:
        logits = _penalised(logits.float(), seen, options.repetition_penalty)
    score, best = logits.max(0)  # four times as fast as argmax in bfloat16
    check_finite(score)
    if is_greedy(options):
        return int(best)
    likely, tokens = candidates(logits.float() / options.temperature, options)
    return int(tokens[torch.multinomial(likely.cpu(), 1, generator=generator)])


def _penalised(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Return scores with those of seen tokens made less likely (CTRL, https://arxiv.org/abs/1909.05858)."""
    of_seen = scores[seen]
    return scores.index_put((seen,), torch.where(of_seen < 0, of_seen * penalty, of_seen / penalty))


def candidates(scores: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Return how likely tokens are, not necessarily in sum 1, and which tokens these are; both of shape [candidates].

    Only the `top_k` most likely tokens count, of these the fewest that together reach `top_p`, and of these the ones
    that are at least `min_p` times as likely as the most likely one.

    Args:
        scores: of the vocabulary, divided by the temperature.
        options: the visitor's.
    """
    count = min(options.top_k or len(scores), len(scores))
    if options.top_k:
        best, tokens = scores.topk(count)
        likely = best.softmax(0)  # as if there were no other tokens
    elif options.top_p >= 1:
        likely = scores.softmax(0)
        return _without_unlikely(likely, options.min_p), torch.arange(count)
    else:
        likely, tokens = scores.softmax(0).topk(min(CANDIDATES, count))
        if likely.sum() < options.top_p:
            likely, tokens = scores.softmax(0).sort(descending=True)
    before = likely.cumsum(0) - likely
    likely[1:][before[1:] >= options.top_p] = 0  # the most likely one always stays
    return _without_unlikely(likely, options.min_p), tokens


def _without_unlikely(likely: Tensor, min_p: float) -> Tensor:
    """Return how likely tokens are, 0 if that is less than `min_p` of the most likely one (https://arxiv.org/abs/2407.01082)."""
    return likely.masked_fill(likely < min_p * likely.max(), 0) if min_p else likely
