"""How likely a model found a token, and which others it found likely in its place."""

from torch import Tensor

from hfdemo.chat.prompt import PromptBuilder
from hfdemo.chat.reply import Token


def describe(token_id: int, logits: Tensor, others: int, prompts: PromptBuilder) -> Token:
    """Return what can be told of a token.

    Args:
        token_id: the one that was chosen.
        logits: of the vocabulary, of shape [vocabulary].
        others: of how many of the likeliest tokens to tell, too.
        prompts: the model's.
    """
    logprobs = logits.float().log_softmax(0)
    best, ids = logprobs.topk(min(others, len(logprobs)))
    likeliest = [
        _token(other, float(value), prompts) for other, value in zip(ids.tolist(), best.tolist(), strict=True)
    ]
    return _token(token_id, float(logprobs[token_id]), prompts, tuple(likeliest))


def _token(token_id: int, logprob: float, prompts: PromptBuilder, others: tuple[Token, ...] = ()) -> Token:
    data = token_bytes(prompts, token_id)
    return Token(data.decode("utf-8", "replace"), data, logprob, others)


def token_bytes(prompts: PromptBuilder, token_id: int) -> bytes:
    """Return the bytes that a token stands for; a token that only the model has stands for none."""
    data = prompts.token_bytes.of(token_id)
    if data is None and prompts.tokenizer.convert_ids_to_tokens(token_id) is not None:
        return prompts.text_within([token_id]).encode("utf-8", "replace")
    return data or b""
