"""`/v1/responses`, its core: text in, text and thought out; nothing is stored. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.reply import Delta, Receipt
from hfdemo.chat.request import ChatRequest
from hfdemo.door.asked import (
    Asked,
    go_on,
    model_to_answer,
    read_messages,
    read_sampling,
    read_schema,
    read_template_kwargs,
)
from hfdemo.door.fields import EFFORTS, Fields
from hfdemo.door.forms import StreamEvent, Told, finish_word, new_id, now
from hfdemo.door.operation import Operation
from hfdemo.door.schemas import COUNT, LENGTH, MESSAGE, SAMPLING, TEXT, object_of, or_null
from hfdemo.engines.protocol import Status
from hfdemo.errors import InvalidInput


def read_response(fields: Fields, status: Status) -> Asked:
    """Return what a program asks for.

    Raises:
        InvalidInput: a field can't be used; the text names it.
    """
    model = model_to_answer(fields, status)
    fields.refuse(previous_response_id="", conversation="", background=False, tools=[], top_logprobs=0, prompt={})
    instructions = fields.text("instructions")
    if isinstance(fields.raw("input"), str):
        text = fields.text("input")
        if not text.strip():
            raise InvalidInput("no_question", name="input")
        request = ChatRequest((Message("user", text),), instructions, Options(), keeps_all=True)
    else:
        messages = [item for item in fields.objects("input") if item.raw("type") != "reasoning"]
        for item in messages:
            item.refuse(type="message")
        request = go_on(read_messages(messages, "input", status, instructions), "input", goes_on=False)
    schema, strict = read_schema(fields.object("text").object("format"), within="")
    request = replace(
        request,
        options=_read_sampling(fields, status),
        effort=fields.object("reasoning").choice("effort", EFFORTS),
        chat_template_kwargs=read_template_kwargs(fields),
        schema=schema,
        schema_strict=strict,
        schema_field="text.format",
    )
    return Asked(request, model, fields.flag("stream"), metadata=fields.named_texts("metadata"))


def _read_sampling(fields: Fields, status: Status) -> Options:
    """Return how the reply is sampled; how much the model thinks is asked for by another name than elsewhere."""
    reasoning = fields.object("reasoning")
    effort = {"reasoning_effort": reasoning.raw("effort")} if reasoning.has("effort") else {}
    try:
        return read_sampling(fields.over(effort), status, ("max_output_tokens",))
    except InvalidInput as error:
        if error.fields.get("name") not in effort:
            raise
        raise InvalidInput(error.key, **{**error.fields, "name": reasoning.name("effort")}) from None


class ResponseForm:
    """Makes the answer; see `forms.ReplyForm`. The thought is one item, the answer another, in the order they began.

    Args:
        asked: what is answered.
    """

    ends_with_done = False

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._told = Told(asked.request)
        self._id, self._created = new_id("resp"), now()
        self._thought_id, self._answer_id = new_id("rs"), new_id("msg")
        self._events = 0
        self._begun: list[str] = []  # the items that have been announced
        self._ended: set[str] = set()  # those whose end has been told

    def begin(self) -> Iterator[StreamEvent]:
        """Yield the events before the reply."""
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self._response("in_progress", [], None))

    def add(self, delta: Delta) -> Iterator[StreamEvent]:
        """Take the next piece and yield its events."""
        piece = self._told.add(delta)
        if piece.thought:
            yield from self._announce(self._thought_id)
            yield self._event("response.reasoning_text.delta", **self._at(self._thought_id), delta=piece.thought)
        if piece.text:
            if self._thought_id in self._begun and self._answer_id not in self._begun:
                yield from self._end_item(self._thought_item("completed"))
            yield from self._announce(self._answer_id)
            at = self._at(self._answer_id)
            yield self._event("response.output_text.delta", **at, delta=piece.text, logprobs=[])

    def end(self, receipt: Receipt) -> Iterator[StreamEvent]:
        """Yield the end of each item, and the whole response."""
        for item in self._items(receipt):
            yield from self._announce(item["id"])  # a thought may have been taken for the answer until it ended
        for item in self._items(receipt):
            yield from self._end_item(item)
        body = self.whole(receipt)
        yield self._event(f"response.{body['status']}", response=body)

    def whole(self, receipt: Receipt) -> dict[str, Any]:
        """Return the response."""
        status = "completed" if finish_word(receipt.finish_reason) == "stop" else "incomplete"
        return self._response(status, self._items(receipt), receipt)

    def _announce(self, item_id: str) -> Iterator[StreamEvent]:
        """Yield what announces an item, unless it has been."""
        if item_id in self._begun:
            return
        self._begun.append(item_id)
        at = self._at(item_id)
        item: dict[str, Any] = {"id": item_id, "type": "reasoning", "summary": [], "status": "in_progress"}
        if item_id == self._answer_id:
            item = self._message([], "in_progress")
        yield self._event("response.output_item.added", output_index=at["output_index"], item=item)
        if item_id == self._answer_id:
            yield self._event("response.content_part.added", **at, part=_text_part(""))

    def _end_item(self, item: dict[str, Any]) -> Iterator[StreamEvent]:
        """Yield the end of an item, unless it has been told."""
        if item["id"] in self._ended:
            return
        self._ended.add(item["id"])
        at = self._at(item["id"])
        [part] = item["content"]
        is_answer = item["id"] == self._answer_id
        more: dict[str, Any] = {"logprobs": []} if is_answer else {}
        yield self._event(f"response.{part['type']}.done", **at, text=part["text"], **more)
        if is_answer:
            yield self._event("response.content_part.done", **at, part=part)
        yield self._event("response.output_item.done", output_index=at["output_index"], item=item)

    def _thought_item(self, status: str) -> dict[str, Any]:
        content = [{"type": "reasoning_text", "text": self._told.thought}]
        return {"id": self._thought_id, "type": "reasoning", "summary": [], "content": content, "status": status}

    def _items(self, receipt: Receipt) -> list[dict[str, Any]]:
        status = "completed" if finish_word(receipt.finish_reason) == "stop" else "incomplete"
        thought = self._thought_item("completed" if self._thought_id in self._ended else status)
        answer = self._message([_text_part(self._told.text)], status)
        items = [thought, answer] if self._told.thought else [answer]
        return sorted(items, key=lambda item: item["id"] in self._begun and self._begun.index(item["id"]))

    def _message(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {"id": self._answer_id, "type": "message", "role": "assistant", "content": content, "status": status}

    def _at(self, item_id: str) -> dict[str, Any]:
        """Return where in the response an item is that has been announced."""
        return {"item_id": item_id, "output_index": self._begun.index(item_id), "content_index": 0}

    def _event(self, name: str, **data: Any) -> StreamEvent:
        self._events += 1
        return StreamEvent({"type": name, "sequence_number": self._events - 1, **data}, name)

    def _response(self, status: str, output: list[dict[str, Any]], receipt: Receipt | None) -> dict[str, Any]:
        options = self._asked.request.options
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": _why(receipt)} if status == "incomplete" and receipt else None,
            "instructions": self._asked.request.system_prompt or None,
            "max_output_tokens": None if "max_new_tokens" in options.left_out else options.max_new_tokens,
            "model": (receipt.model if receipt else "") or self._asked.model,
            "output": output,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": options.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": options.top_p,
            "truncation": "disabled",
            "usage": _usage(receipt) if receipt and receipt.prompt_tokens else None,
            "metadata": self._asked.metadata,
        }


def _why(receipt: Receipt) -> str:
    """Return why a response isn't complete."""
    return "content_filter" if receipt.finish_reason == "content_filter" else "max_output_tokens"


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(receipt: Receipt) -> dict[str, Any]:
    return {
        "input_tokens": receipt.prompt_tokens,
        "input_tokens_details": {"cached_tokens": receipt.cached_tokens},
        "output_tokens": receipt.new_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": receipt.used_tokens,
    }


_MESSAGES = {"type": "array", "minItems": 1, "items": MESSAGE}

ASKED = object_of(
    {"input": {"anyOf": [TEXT, _MESSAGES]}},
    SAMPLING
    | {
        "instructions": {"type": ["string", "null"]},
        "max_output_tokens": LENGTH,
        "metadata": or_null({"type": "object", "additionalProperties": TEXT}),
        "reasoning": or_null(object_of({}, {"effort": SAMPLING["reasoning_effort"]})),
        "text": or_null(object_of({}, {"format": or_null(object_of({"type": {"enum": ["text", "json_object"]}}))})),
    },
)

ANSWER = object_of(
    {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": COUNT,
        "status": {"enum": ["completed", "incomplete"]},
        "model": TEXT,
        "output": {"type": "array", "items": object_of({"id": TEXT, "type": {"enum": ["reasoning", "message"]}})},
        "usage": or_null(object_of({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT})),
    }
)

RESPONSE = Operation("/v1/responses", read_response, ResponseForm, ASKED, ANSWER)
