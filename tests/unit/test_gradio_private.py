"""What we use of Gradio's private names is there, and does what we rely on: these tests fail first if it changes."""

import asyncio
import inspect
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio import component_meta, http_server, networking, queueing, routes, state_holder, tunneling
from gradio.components.chatbot import ChatbotDataMessages
from gradio.i18n import I18nData
from gradio_client import Client

from hfdemo.answering import Answering
from hfdemo.page import gradio_private
from hfdemo.page.gradio_private import BareChatInterface
from hfdemo.page.page import create_page, launch
from hfdemo.settings import Settings
from tests.conftest import free_port, run_program, wait_until
from tests.fakes import ScriptedEngine, ScriptedHost, scripted_page


class Bare(BareChatInterface):
    """A chat interface that notes what it is asked to connect and to draw."""

    def connect(self) -> None:
        self.connected = (self.textbox, self.chatbot)
        self.add_endpoint(lambda text: text.upper(), [self.textbox], [], api_name="shout")

    def draw_below_chatbot(self) -> None:
        pass

    def draw_below_box(self) -> None:
        self.below = gr.HTML("below")


@pytest.fixture(scope="module")
def bare() -> Bare:
    with gr.Blocks():
        return Bare(lambda message, history: message, textbox=gr.Textbox(), chatbot=gr.Chatbot())


def test_the_stock_constructor_leaves_events_and_footer_to_us(bare):
    assert bare.connected == (bare.textbox, bare.chatbot)
    assert bare.below.parent is not None


def test_the_stock_store_in_the_visitors_browser_is_not_in_the_page(bare):
    assert isinstance(bare.saved_conversations, gr.BrowserState)
    assert not [block for block in bare.parent.blocks.values() if isinstance(block, gr.BrowserState)]


def test_no_stock_event_is_left_but_the_endpoint(bare):
    names = {event.api_name for event in bare.parent.fns.values() if event.api_visibility == "public"}
    assert names == {"shout"}
    assert {name for _, name in (target for event in bare.parent.fns.values() for target in event.targets)} == {
        "click"
    }


def test_a_session_keeps_nothing_of_what_is_sent_or_shown_but_its_state(monkeypatch):
    monkeypatch.setattr(state_holder, "SessionState", state_holder.SessionState)
    gradio_private.keep_sessions_lean()
    with gradio_private.PageBlocks() as page:
        box, count = gr.Textbox(), gr.State(0)

        def tell(text: str, before: int) -> tuple[object, int]:
            return gr.update(value=f"{text} {before}", label="changed"), before + 1

        gr.Button().click(tell, [box, count], [box, count], api_name="tell")
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **gradio_private.launch_options())
    try:
        client = Client(url, verbose=False)
        told = [client.predict("secret", api_name="/tell")["value"] for _ in range(3)]
        assert told == ["secret 0", "secret 1", "secret 2"]
        session = page.state_holder.session_data[client.session_hash]
        assert type(session) is gradio_private.LeanSession
        assert session.config_values == {} and list(session.state_data.values()) == [3]
        held = [
            session.blocks_config.blocks[box._id].constructor_args,
            session.state_data,
            vars(session.blocks_config.blocks[box._id]),
        ]
        assert "secret" not in repr(held)
        others = [Client(url, verbose=False) for _ in range(3)]
        assert all(other.predict("again", api_name="/tell")["value"] == "again 0" for other in others)
        assert len(page._queue.pending_messages_per_session) == len(page._queue.pending_event_ids_session) == 1
        assert client.predict("still here", api_name="/tell")["value"] == "still here 3"
    finally:
        page.close()


def test_of_events_that_can_be_told_no_more_nothing_is_kept():
    queue = SimpleNamespace(
        pending_messages_per_session={"open": asyncio.Queue(), "done": asyncio.Queue()},
        pending_event_ids_session={"open": {"a"}, "done": set(), "closed while it came": {"b"}, "closed": {"c"}},
        event_ids_to_events={"b": object()},
    )
    gradio_private._forget_streams_that_ended(queue)
    assert set(queue.pending_messages_per_session) == {"open"}
    assert set(queue.pending_event_ids_session) == {"open", "closed while it came"}


def test_calls_that_nobody_reads_push_no_open_page_out():
    unread = {f"call {number}": {f"{number}"} for number in range(600)}
    queue = SimpleNamespace(
        pending_messages_per_session={session: asyncio.Queue() for session in ("page", *unread)},
        pending_event_ids_session={"page": {"running"}, **unread},
        event_ids_to_events={"running": object()},
    )
    gradio_private._forget_streams_that_ended(queue)
    kept = ["page", *list(unread)[100:]]
    assert list(queue.pending_messages_per_session) == list(queue.pending_event_ids_session) == kept


def test_a_call_by_position_may_lack_the_newest_parameters():
    with gradio_private.PageBlocks() as page:
        old, kept, new = gr.Textbox(), gr.State("kept"), gr.Number()
        gr.Button().click(lambda *values: repr(values), [old, kept, new], gr.Textbox(), api_name="tell")
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **gradio_private.launch_options())
    try:
        for given, told in ((["a"], "('a', 'kept', None)"), (["a", 2], "('a', 'kept', 2)")):
            call = httpx.post(f"{url}gradio_api/call/tell", json={"data": given}).json()["event_id"]
            assert told in httpx.get(f"{url}gradio_api/call/tell/{call}").text
    finally:
        page.close()


def test_nothing_is_made_of_an_output_that_is_left_as_it_is(monkeypatch):
    made = []

    class Counted(gr.Textbox):
        def __init__(self, *given: object, **options: object) -> None:
            made.append(self)
            super().__init__(*given, **options)

        def get_block_name(self) -> str:
            return "textbox"

    def tell():
        yield gr.skip(), "one", gr.skip()
        yield gr.skip(), gr.skip(), gr.skip()
        yield gr.update(label="named"), "two", "three"

    with gradio_private.PageBlocks() as page:
        outputs = [Counted(), Counted(), Counted()]
        page.load(tell, None, outputs, api_name="tell")
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **gradio_private.launch_options())
    try:
        before = len(made)
        job = Client(url, verbose=False).submit(api_name="/tell")
        assert job.result()[1:] == ("two", "three")
        skipped = {"__type__": "update"}
        assert job.outputs()[:2] == [(skipped, "one", skipped), (skipped, skipped, skipped)]
        assert len(made) == before + 1  # for its label
    finally:
        page.close()


def test_an_endpoint_answers_programs():
    with gr.Blocks() as page:
        Bare(lambda message, history: message, textbox=gr.Textbox(), chatbot=gr.Chatbot())
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **gradio_private.launch_options())
    try:
        assert Client(url, verbose=False).predict("hi", api_name="/shout") == "HI"
    finally:
        page.close()


def test_stub_files_are_written_by_the_function_that_is_taken_away():
    assert "create_or_modify_pyi(" in inspect.getsource(component_meta)
    assert component_meta.create_or_modify_pyi.__module__ == "hfdemo.page.gradio_import"


def test_one_app_is_made_for_a_page_and_that_when_it_is_served(monkeypatch):
    made = []
    make = routes.App.create_app

    def create_app(*args: object, **options: object) -> routes.App:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(routes.App, "create_app", staticmethod(create_app))
    page = scripted_page(ScriptedEngine())
    assert made == []
    launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=free_port())
    page.close()
    assert made == [page.app]


def test_as_many_replies_come_at_one_time_as_the_host_lets_wait():
    engine = ScriptedEngine()
    for _ in range(45):  # more than Gradio's own number
        engine.enqueue("a", 60.0)
    settings = Settings(max_waiting=100)
    page, port = create_page(Answering(engine, settings.max_waiting), settings, ScriptedHost(engine)), free_port()
    launch(page, settings, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port)
    try:
        for _ in range(45):
            call = {"data": ["Hi", ""]}
            assert httpx.post(f"http://127.0.0.1:{port}/gradio_api/call/chat", json=call).status_code == 200
        wait_until(lambda: len(engine.requests) == 45, 30, "all of them")
    finally:
        page.answering.close(0)
        page.close()


def test_the_queue_sleeps_between_two_looks_for_as_long_as_it_is_told():
    page = gr.Blocks().queue()
    assert page._queue.sleep_when_free <= 0.05
    gradio_private.set_queue_poll_interval(page, 0.2)
    assert page._queue.sleep_when_free == 0.2
    assert "self.sleep_when_free" in inspect.getsource(queueing.Queue.start_processing)


def test_launch_takes_the_option_that_it_does_not_document():
    for address in ("", "127.0.0.1", "::1"):
        assert set(gradio_private.launch_options(address)) <= set(inspect.signature(gr.Blocks.launch).parameters)


@pytest.mark.parametrize(("address", "served_at"), [("::1", "[::1]"), ("[::1]", "[::1]"), ("::", "[::]")])
def test_a_free_port_is_looked_for_without_ipv6_where_the_page_listens_with_it(address, served_at, monkeypatch):
    monkeypatch.setattr(http_server, "LOCALHOST_NAME", address)
    assert gradio_private.launch_options(address)["server_name"] == served_at
    assert http_server.LOCALHOST_NAME == "127.0.0.1"


def test_names_of_types_are_those_of_gradio():
    assert gradio_private.I18nData is I18nData
    assert gradio_private.ChatbotDataMessages is ChatbotDataMessages
    assert isinstance(gr.I18n(en={"key": "text"})("key"), I18nData)


def test_a_tunnel_is_asked_for_as_gradio_does():
    assert list(inspect.signature(networking.setup_tunnel).parameters) == [
        "local_host",
        "local_port",
        "share_token",
        "share_server_address",
        "share_server_tls_certificate",
    ]
    assert isinstance(tunneling.CURRENT_TUNNELS, list)
    assert gradio_private.is_own_share_server() is (networking.GRADIO_SHARE_SERVER_ADDRESS is not None)
    gradio_private.wait_for_tunnels()


def test_importing_gradio_writes_no_stub_files_and_is_faster_for_it():
    program = """
import sys, time
if sys.argv[1] == "late":
    import gradio
if sys.argv[1] != "stock":
    import hfdemo.page
started = time.process_time()
from gradio import component_meta
took_s = time.process_time() - started
assert not [finder for finder in sys.meta_path if type(finder).__module__.startswith("hfdemo")]
print(took_s, component_meta.create_or_modify_pyi.__module__)
"""
    fast, stock = (run_program(program, how).stdout.split() for how in ("fast", "stock"))
    assert (fast[1], stock[1]) == ("hfdemo.page.gradio_import", "gradio.component_meta")
    assert run_program(program, "late").stdout.split()[1] == "hfdemo.page.gradio_import"
    assert float(fast[0]) < 0.8 * float(stock[0])
