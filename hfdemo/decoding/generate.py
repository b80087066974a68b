"""The detour: a reply by transformers' own `generate`, for models that no step of ours covers.

`generate` runs the model and keeps its state; each token is chosen by our sampler, and the reply ends where
`RunningReply.finish_reason` says, as everywhere else. The streamer isn't handed to `generate`, which on a GPU passes
each token on a step late.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from hfdemo.decoding.running import RunningReply


def write_whole_reply(reply: RunningReply) -> None:
    """Write a reply to its end through the model's text-generation pipeline.

    Raises:
        Interrupted: the reply has to end while its prompt is read.
        BaseException: what the model raised.
    """
    model = reply.model
    with reply.interruptible() as prompt_is_read:
        model.pipeline(
            reply.request.prompt,
            cache=reply.cache,
            return_tensors=True,
            max_new_tokens=reply.request.options.max_new_tokens,
            eos_token_id=list(model.end_ids),
            do_sample=False,  # what is left to choose from is the one token that our sampler took
            temperature=None,
            top_p=None,
            top_k=None,
            logits_processor=[_OurChoice(reply)],
            stopping_criteria=[_OurEnd(reply, prompt_is_read)],
        )


class _OurChoice(LogitsProcessor):
    """Leaves one token to choose: the one that our sampler took and the reply has now."""

    def __init__(self, reply: RunningReply) -> None:
        self._reply = reply

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores of shape [1, vocabulary]: 0 for the token, minus infinity for the others.

        Raises:
            GenerationFailed: the scores contain NaN or infinity.
        """
        if self._reply.finish_reason():  # on a GPU, `generate` runs a step beyond the end before it looks
            return scores
        token_id = self._reply.choose(scores[0])
        self._reply.write(token_id)
        chosen = torch.full_like(scores, -torch.inf)
        chosen[0, token_id] = 0
        return chosen


class _OurEnd(StoppingCriteria):
    """Ends `generate` after the token that is the reply's last."""

    def __init__(self, reply: RunningReply, prompt_is_read: Callable[[], None]) -> None:
        self._reply = reply
        self._prompt_is_read = prompt_is_read

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """Return whether the reply ends, of shape [1]."""
        self._prompt_is_read()
        ends = self._reply.finish_reason() is not None
        return torch.tensor([ends], device=input_ids.device)
