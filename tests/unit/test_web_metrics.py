"""Numbers for Prometheus: what happened, never who asked or what was said."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hfdemo.answering import Answering
from hfdemo.chat.messages import Message
from hfdemo.chat.options import Options
from hfdemo.chat.request import ChatRequest
from hfdemo.errors import Busy, GenerationFailed
from hfdemo.web.metrics import Metrics
from hfdemo.web.metrics_route import MetricsRoute
from tests.fakes import RECEIPT, ScriptedEngine
from tests.unit.web import Recorder, request, scope_of

REQUEST = ChatRequest((Message("user", "my secret"),), "", Options())


def read(metrics: Metrics) -> dict[str, float]:
    """Return the numbers by name and labels."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found[" ".join([sample.name, *sample.labels.values()])] = sample.value
    return found


def test_replies_and_tokens_are_counted():
    metrics = Metrics(lambda: True)
    metrics.began()
    metrics.began()
    assert read(metrics)["hfdemo_replies_in_progress"] == 2
    metrics.ended(replace(RECEIPT, prompt_tokens=40, cached_tokens=30, new_tokens=5, first_token_s=0.3), 2.0)
    metrics.ended(None, 0.1)
    metrics.refused("busy")
    found = read(metrics)
    assert found["hfdemo_replies_in_progress"] == 0
    assert found[f"hfdemo_replies_total {RECEIPT.finish_reason}"] == found["hfdemo_replies_total failed"] == 1
    assert [found[f"hfdemo_tokens_total {kind}"] for kind in ("read", "cached", "written")] == [10, 30, 5]
    assert found["hfdemo_refused_total busy"] == 1
    assert found["hfdemo_first_token_seconds_count"] == 1 and found["hfdemo_first_token_seconds_sum"] == 0.3
    assert found["hfdemo_reply_seconds_count"] == 2 and found["hfdemo_reply_seconds_bucket 2.5"] == 2
    assert found["process_resident_memory_bytes"] > 10**6


@pytest.mark.parametrize("ready", [True, False])
def test_whether_it_is_ready_is_a_number(ready):
    assert read(Metrics(lambda: ready))["hfdemo_ready"] == ready


def test_what_visitors_do_is_counted_and_nothing_of_it_is_told():
    engine = ScriptedEngine()
    engine.enqueue("an answer")
    engine.enqueue(GenerationFailed("generation"))
    engine.enqueue(60.0)
    answering = Answering(engine, max_waiting=1)
    metrics = Metrics(answering.is_ready)
    answering.let_watch(metrics)

    async def visit() -> None:
        for _ in range(2):
            answer = answering.answer(REQUEST, "visitor-7", "203.0.113.9")
            with suppress(GenerationFailed):
                assert [delta async for delta in answer.deltas()]
            await asyncio.to_thread(answer.ended.result, 5)
        long = answering.answer(REQUEST, "visitor-7")
        with pytest.raises(Busy):
            answering.answer(REQUEST, "visitor-8")
        assert read(metrics)["hfdemo_replies_in_progress"] == 1
        long.stop.set()
        await asyncio.to_thread(long.ended.result, 5)

    asyncio.run(visit())
    found = read(metrics)
    assert found["hfdemo_replies_in_progress"] == 0
    assert sum(value for name, value in found.items() if name.startswith("hfdemo_replies_total")) == 3
    assert sum(value for name, value in found.items() if name.startswith("hfdemo_refused_total")) == 1
    for text in (b"secret", b"an answer", b"visitor-", b"203.0"):
        assert text not in metrics.text()


def test_they_are_where_the_host_offers_them_only():
    app = Recorder()
    status, headers, body = request(MetricsRoute(app, Metrics(lambda: True).text), scope_of("/metrics"))
    assert status == 200 and headers["content-type"].startswith("text/plain") and b"hfdemo_ready 1.0" in body
    assert request(MetricsRoute(app, None), scope_of("/metrics"))[0] == 404
    assert app.scopes == []
    assert request(MetricsRoute(app, None), scope_of("/config"))[0] == 200
