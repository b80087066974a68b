"""From the bytes of a stream to what a server said; pure.

Server-sent events: lines that end with LF, CRLF or CR, and nothing else; a blank line ends an event. Source:
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import codecs
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from hfdemo.chat.messages import replace_surrogates, write_json
from hfdemo.chat.reply import Token
from hfdemo.chat.reply_reader import THOUGHT_FIELDS

DONE = "[DONE]"

MAX_EVENT_CHARS = 32 * 1024 * 1024
"""No event is that long: a whole reply with the probabilities of its tokens has some megabytes."""

MAX_COUNT = 1 << 53
"""No count is greater; a page's scripts couldn't tell the next one from it."""

KINDS = {
    **dict.fromkeys(("overloaded", "overloaded_error", "unavailable_error"), 503),
    **dict.fromkeys(("exceed_context_size_error", "context_length_exceeded"), 413),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error"), 429),
    **dict.fromkeys(("invalid_api_key", "authentication_error"), 401),
    **dict.fromkeys(("model_not_found", "not_found_error"), 404),
    "insufficient_quota": 402,
}
"""The HTTP statuses that servers' words for errors stand for: OpenAI's, llama.cpp's, TGI's."""

UNSPECIFIC = ("invalid_request_error", "validation")
"""What stands for 400 where no status does."""

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens a request took, as the server counts them."""

    prompt_tokens: int
    cached_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a call of a tool."""

    place: int | None
    """Which of the calls it belongs to, where the server numbers them."""
    id: str
    name: str
    arguments: str
    extra_content: str = ""
    """What else there is of it, as JSON."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a reply, as the server sent it."""

    text: str = ""
    thought: str = ""
    finish: str = ""
    """Why the reply ends, in the server's word; empty while it goes on."""
    usage: Usage | None = None
    model: str = ""
    tokens: tuple[Token, ...] = ()
    """The tokens that were written, where the server tells of them."""
    calls: tuple[CallPiece, ...] = ()
    """What it tells of the tools that the model asks for."""

    @property
    def says_something(self) -> bool:
        """Whether there is anything of the reply itself in it."""
        return bool(self.text or self.thought or self.calls)


class SaidError(Exception):
    """The server says in its stream that something went wrong.

    Args:
        said: its own words.
        status: the HTTP status that belongs to it; 0 if it names none.
        body: all of what it sent.
    """

    def __init__(self, said: str, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(said)
        self.said = said
        self.status = status
        self.body = body


class EndlessEventError(Exception):
    """An event goes on and on."""


class EventReader:
    """Takes the bytes of a stream, in whatever pieces they come, and gives the data of each event.

    A server that doesn't stream sends one JSON document instead; that is taken for the data of one event.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []  # what came of the next line
        self._half_end = ""  # a CR, which may be the first half of CRLF
        self._held = 0  # how many characters came of what isn't whole yet
        self._data: list[str] = []
        self._document: list[str] = []
        self._is_stream = False

    def add(self, piece: bytes) -> Iterator[str]:
        """Take the next bytes and yield the data of each event that is whole.

        Raises:
            EndlessEventError: one goes on for so long that it is none.
        """
        text = self._half_end + self._decoder.decode(piece)
        self._half_end = "\r" if text.endswith("\r") else ""
        first, *lines = _LINE_END.split(text.removesuffix("\r"))
        self._line.append(first)
        self._held += len(text)
        if self._held > MAX_EVENT_CHARS:
            raise EndlessEventError
        for line in lines:
            whole, self._line = "".join(self._line), [line]
            yield from self._take(whole)

    def end(self) -> Iterator[str]:
        """Yield what stands behind the last blank line; some servers leave that out."""
        rest = "".join(self._line) + self._half_end + self._decoder.decode(b"", final=True)
        self._line, self._half_end = [], ""
        yield from self._take(rest.rstrip("\r\n"))
        yield from self._take("")
        if not self._is_stream and (document := "\n".join(self._document).strip()):
            yield document

    def _take(self, line: str) -> Iterator[str]:
        name, _, value = line.removeprefix("\ufeff").partition(":")
        if not line:
            data, self._data, self._held = "\n".join(self._data), [], 0
            if data:
                yield data
        elif name == "data":
            self._is_stream = True
            value = value.removeprefix(" ")
            # One line is one JSON document in all known servers; some don't write the blank line between two.
            if self._data and _is_whole("\n".join(self._data)):
                yield from self._take("")
            self._data.append(value)
        elif not self._is_stream:
            self._document.append(line)
        elif not self._data:  # a comment, or a field that says nothing
            self._held = 0


def read_chunk(data: str) -> Chunk:
    """Return what the data of an event says. What can't be read says nothing.

    Raises:
        SaidError: the server says that something went wrong.
    """
    body = read_body(data)
    if body is None:
        return Chunk()
    if said := find_error(body):
        raise said
    choices = (one for one in _list(body.get("choices")) if isinstance(one, dict))
    choice = next((one for one in choices if not one.get("index") or one["index"] == "0"), {})
    told = choice.get("delta")
    if told is None:  # a server that streams may send the whole message once more, beside an empty delta
        told = choice.get("message")
    text, thought = _read_delta(told) if isinstance(told, dict) else ("", "")
    return Chunk(
        text or _text(choice.get("text")),
        thought,
        _read_finish(choice.get("finish_reason")),
        _read_usage(body.get("usage")),
        _text(body.get("model")),
        _read_tokens(choice.get("logprobs")),
        _read_calls(told.get("tool_calls")) if isinstance(told, dict) else (),
    )


def read_body(content: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object that is an answer, or the first of a list, as Google's servers tell an error."""
    try:
        body = json.loads(content, strict=False)  # some servers don't escape what they should
    except (ValueError, RecursionError):
        return None
    first = body[0] if isinstance(body, list) and body else body
    return first if isinstance(first, dict) else None


def find_error(body: Mapping[str, Any]) -> SaidError | None:
    """Return what a server says went wrong, in any of the forms that are in use; None if nothing did."""
    error = body.get("error")
    if error is None:
        error = _error_of_choice(body)
    if error is None and (body.get("object") == "error" or "choices" not in body):
        several = _list(body.get("errors"))
        named = (body.get(name) for name in ("detail", "message", "msg"))
        error = several[0] if several else next(filter(None, named), None)
    if not error:
        return None
    if isinstance(error, dict) and (error_behind := _error_behind(error)):
        return error_behind
    facts = error if isinstance(error, dict) else body
    said = facts.get("message") if isinstance(error, dict) else error
    told = map(facts.get, ("code", "status", "status_code", "http_status_code"))
    status = next(filter(None, map(_read_status, told)), 0)
    names = (body.get("error_type"), facts.get("code"), facts.get("type"))
    loading = 503 if "estimated_time" in body else 0  # as Hugging Face's servers say it
    kind = next((KINDS[name] for name in map(_text, names) if name in KINDS), loading)
    usual = 400 if any(name in UNSPECIFIC for name in map(_text, names)) else 0
    words = said if isinstance(said, str) else json.dumps(said or error, ensure_ascii=False)
    return SaidError(words, kind or status or usual, body)


def find_param(body: Mapping[str, Any]) -> str:
    """Return the field that a server's error is about, as it names it; empty if it names none."""
    error = body.get("error")
    return str(error.get("param") or "") if isinstance(error, dict) else ""


def _error_of_choice(body: Mapping[str, Any]) -> object:
    """Return what OpenRouter says in the choice that broke off, or MiniMax beside choices that are null."""
    choices = _list(body.get("choices"))
    if choices and isinstance(choices[0], dict) and choices[0].get("error"):
        return choices[0]["error"]
    told = body.get("base_resp")
    failed = isinstance(told, dict) and told.get("status_code") and not choices
    return {"message": told.get("status_msg")} if isinstance(told, dict) and failed else None


def _error_behind(error: Mapping[str, Any]) -> SaidError | None:
    """Return the error of the provider behind a router such as OpenRouter, whose own words say nothing of it."""
    told = error.get("metadata")
    raw = told.get("raw") if isinstance(told, dict) else None
    if not raw:
        return None
    body = raw if isinstance(raw, dict) else read_body(raw) if isinstance(raw, str) else None
    found = find_error(body) if body else None
    if found is None:
        found = SaidError(str(raw), 0, {"error": {"message": str(raw)}})
    return SaidError(found.said, found.status or _read_status(error.get("code")), found.body)


def _read_delta(told: Mapping[str, Any]) -> tuple[str, str]:
    """Return text and thought of a delta; a server that names the thought twice says the same."""
    thought = next((found for name in THOUGHT_FIELDS if (found := _parts(told.get(name))[0])), "")
    text, within = _parts(told.get("content"))
    return text or _text(told.get("refusal")), thought or within


def _parts(content: object) -> tuple[str, str]:
    """Return text and thought of a content, which may be a list of typed parts (Mistral's)."""
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return _text(content), ""
    text = thought = ""
    for part in content:
        text += _text(part)
        if isinstance(part, dict) and part.get("thinking"):
            thought += _parts(part["thinking"])[0]
        elif isinstance(part, dict):
            text += _text(part.get("text"))
    return text, thought


def _read_tokens(told: object) -> tuple[Token, ...]:
    """Return the tokens that a choice tells of, as far as they can be read."""
    if not isinstance(told, dict):
        return ()
    found = _list(told.get("content")) or _tokens_of_text(told)
    return tuple(token for token in map(_read_token, found) if token)


def _tokens_of_text(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tokens as the API for conversations tells them; the one for plain texts has a list for each fact."""
    found = []
    facts = (_list(told.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for text, logprob, others in zip_longest(*facts):
        likeliest = others.items() if isinstance(others, dict) else ()
        top = [{"token": other, "logprob": its} for other, its in likeliest]
        found.append({"token": text, "logprob": logprob, "top_logprobs": top})
    return found


def _read_token(told: object) -> Token | None:
    if not isinstance(told, dict) or not isinstance(told.get("token"), str) or not _is_logprob(told.get("logprob")):
        return None
    text = replace_surrogates(told["token"])
    values = _list(told.get("bytes"))
    is_bytes = bool(values) and all(isinstance(value, int) and 0 <= value < 256 for value in values)
    others = tuple(other for other in map(_read_token, _list(told.get("top_logprobs"))) if other)
    return Token(text, bytes(values) if is_bytes else text.encode(), float(told["logprob"]), others)


def _read_calls(told: object) -> tuple[CallPiece, ...]:
    return tuple(_read_call(call) for call in _list(told) if isinstance(call, dict))


def _read_call(told: Mapping[str, Any]) -> CallPiece:
    place, function = told.get("index"), told.get("function")
    facts = function if isinstance(function, dict) else {}
    arguments = facts.get("arguments")
    if isinstance(arguments, dict):  # some servers tell them as they are
        arguments = json.dumps(arguments, ensure_ascii=False)
    is_place = isinstance(place, int) and not isinstance(place, bool)
    extra = told.get("extra_content")
    return CallPiece(
        place if is_place else None,
        _text(told.get("id")),
        _text(facts.get("name")),
        _text(arguments),
        write_json(extra) if extra and isinstance(extra, dict) else "",
    )


def _is_logprob(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == -math.inf or -1e300 < value <= 1  # NaN is neither


def _read_usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict) or not usage.get("prompt_tokens"):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(_count(usage.get("prompt_tokens")), _count(cached), _count(usage.get("completion_tokens")))


def _read_finish(told: object) -> str:
    """Return why a reply ends; some servers write None as a word."""
    finish = _text(told).lower()
    return "" if finish in ("null", "none") else finish


def _read_status(value: object) -> int:
    """Return the HTTP status of an error that a number or a text is; 0 if it is none."""
    return _STATUSES.get(str(value), 0)


_STATUSES = {str(status): status for status in range(400, 600)}


def _is_whole(data: str) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return data == DONE
    return True


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_COUNT else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
