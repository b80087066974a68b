"""What `spaces` is told by other ways than its own."""

import inspect
from contextvars import copy_context

from spaces.zero import client

from hfdemo.chat.reply import StopSignal
from hfdemo.engines.zerogpu.spaces_private import leave_line_when_stopped, waits_for


def test_spaces_leaves_the_line_when_its_event_is_no_longer_alive():
    source = inspect.getsource(client.schedule)
    assert "connection_event = get_event()" in source
    assert source.count("connection_event is not None and not connection_event.alive") == 2
    assert source.count("connection_event") == 6, "nothing else is asked of it"


def test_a_gpu_is_wanted_until_the_reply_has_to_end(monkeypatch):
    monkeypatch.setattr(client, "get_event", client.get_event)
    leave_line_when_stopped()
    assert client.get_event() is None, "outside of a reply"
    stop = StopSignal()
    context = copy_context()
    context.run(waits_for.set, stop)
    assert context.run(client.get_event).alive is True
    stop.set()
    assert context.run(client.get_event).alive is False
