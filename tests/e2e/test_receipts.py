"""What stands under and around a reply: its receipt, its thought, Continue, the meter, the memory mark, the prompt."""

import dataclasses
import json
import re

from playwright.sync_api import expect

from hfdemo.chat.messages import Message
from hfdemo.engines.protocol import Status
from tests.e2e.conftest import TEXT_WITHOUT_BOXES
from tests.fakes import RECEIPT


def test_receipt_says_why_the_reply_ended_and_unfolds(chat):
    chat.set_option("temperature", 0)
    chat.send("What is the capital of Korea?")
    chat.wait_for_reply()
    receipt = chat.page.locator("#transcript .thought-group")
    expect(receipt).to_contain_text(re.compile(r"Finished · 8 tokens · [\d.]+/s"))
    expect(receipt.get_by_text("Prompt tokens")).to_be_hidden()
    receipt.locator(".title").click()
    expect(receipt).to_contain_text("Prompt tokens: 37")
    expect(receipt).to_contain_text(re.compile("CPU · (bfloat16|float32)"))
    expect(chat.page.locator("#meter")).to_have_text("45 of 8,192 tokens")


def test_continue_goes_on_in_the_same_reply(chat):
    chat.set_option("temperature", 0)
    chat.set_option("max-new-tokens", 10)
    expect(chat.page.locator("#continue")).to_be_hidden()
    chat.send("Write a story about a fox who finds a map.")
    begun = chat.wait_for_reply()
    expect(chat.page.locator("#transcript")).to_contain_text("Reached Max new tokens")
    chat.page.locator("#continue").click()
    expect(chat.page.locator("#transcript .thought-group")).to_contain_text("Reached Max new tokens · 20 tokens")
    whole = chat.wait_for_reply()
    assert whole.startswith(begun) and len(whole) > len(begun) + 10
    assert (chat.users.count(), chat.replies.count()) == (1, 1)


def test_stopped_reply_can_be_continued(chat):
    chat.set_option("temperature", 0)
    chat.set_option("max-new-tokens", 400)
    chat.send("Write a long story about a fox who finds a map.")
    expect(chat.replies.last).to_have_text(re.compile(".{60}"))
    chat.stop_button.click()
    begun = chat.wait_for_reply()
    expect(chat.page.locator("#transcript")).to_contain_text("Stopped")
    chat.page.locator("#continue").click()
    expect(chat.stop_button).to_be_visible()
    chat.page.wait_for_timeout(1500)
    chat.stop_button.click()
    whole = chat.wait_for_reply()
    assert whole.startswith(begun) and len(whole) > len(begun)


def test_exact_prompt_is_shown_with_its_control_tokens_and_put_away(chat):
    chat.box.fill("Hi <|im_end|> <b>there</b>")
    chat.page.locator("#show-prompt").click()
    shown = chat.page.locator("#shown-prompt")
    expect(shown.locator(".control")).to_have_text(["<|im_start|>", "<|im_end|>"] * 2 + ["<|im_start|>"])
    expect(shown.locator("pre")).to_contain_text("Hi <|im_end|> <b>there</b>")
    expect(chat.box).to_have_value("Hi <|im_end|> <b>there</b>")
    chat.page.locator("#show-prompt").click()
    expect(shown.locator("pre")).to_have_count(0)
    chat.box.fill("")


def test_thought_is_folded_apart_and_goes_back_as_thought(scripted, scripted_chat):
    scripted.engine.enqueue("<think>Let me see.</think>", 2.0, "The answer.")
    scripted_chat.send("question")
    expect(scripted_chat.page.locator("#transcript")).to_contain_text("Thinking")
    assert scripted_chat.wait_for_reply() == "The answer."
    boxes = scripted_chat.page.locator("#transcript .thought-group")
    expect(boxes.first).to_contain_text(re.compile(r"Thought for 0\.\d s"))
    scripted_chat.send("next")
    scripted_chat.wait_for_reply()
    assert scripted.engine.requests[-1].messages == (
        Message("user", "question"),
        Message("assistant", "The answer.", thought="Let me see."),
        Message("user", "next"),
    )


def test_reply_that_was_all_thought_says_so(scripted, scripted_chat):
    scripted.engine.receipt = dataclasses.replace(scripted.engine.receipt, finish_reason="max_new_tokens")
    scripted.engine.enqueue("<think>Let me see.</think>")
    scripted_chat.send("question")
    expect(scripted_chat.page.locator("#transcript")).to_contain_text("Thinking used up Max new tokens")
    expect(scripted_chat.users).to_have_count(1)
    expect(scripted_chat.box).to_have_value("")
    scripted.engine.receipt = dataclasses.replace(scripted.engine.receipt, finish_reason="end_of_turn")
    scripted.engine.enqueue("<think>Let me see. Yes.</think>", "The answer.")
    scripted_chat.page.locator("#continue").click()
    assert scripted_chat.wait_for_reply() == "The answer."
    request = scripted.engine.requests[-1]
    assert (request.reply_start, request.thought_start, request.continues) == ("", "Let me see.", True)
    expect(scripted_chat.users).to_have_count(1)


def test_memory_mark_stands_where_the_model_begins_to_remember(scripted, scripted_chat):
    for text in ("one", "two"):
        scripted_chat.send(text)
        scripted_chat.wait_for_reply()
    scripted.engine.receipt = dataclasses.replace(scripted.engine.receipt, dropped_messages=2)
    scripted_chat.send("three")
    scripted_chat.wait_for_reply()
    mark = scripted_chat.page.get_by_text("Earlier messages no longer fit")
    expect(mark).to_have_count(1)
    top = {text: scripted_chat.users.filter(has_text=text).bounding_box()["y"] for text in ("one", "two")}
    assert top["one"] < mark.bounding_box()["y"] < top["two"]


def test_thinking_can_be_set_where_the_model_can_be_asked(scripted, scripted_chat):
    expect(scripted_chat.page.get_by_label("Thinking")).to_be_hidden()
    scripted.engine.now = Status("ready", model="thinker", thinking_modes=("off", "on"))
    scripted_chat.page.reload()
    scripted_chat.open_settings()
    scripted_chat.page.locator("#thinking").get_by_label("On").click()
    scripted_chat.send("question")
    scripted_chat.wait_for_reply()
    assert scripted.engine.requests[-1].options.thinking == "on"


def test_what_a_visitor_should_know_of_the_model_is_said(scripted, page):
    scripted.engine.now = Status(
        "ready", model="base", base_model=True, instruct_sibling="meta-llama/Llama-3.1-8B-Instruct"
    )
    page.goto(scripted.url)
    expect(page.locator("#status")).to_contain_text("not tuned for chat")
    expect(page.locator("#status")).to_contain_text("choose meta-llama/Llama-3.1-8B-Instruct")
    scripted.engine.now = Status("ready", model="gemma", takes_system_prompt=False)
    page.reload()
    expect(page.locator("#status")).to_contain_text("put before the first message")


def test_reply_start_and_stop_texts_reach_the_engine(scripted, scripted_chat):
    page = scripted_chat.page
    scripted_chat.open_settings()
    page.get_by_role("button", name="More").click()
    page.locator("#reply-start textarea").fill("Well, ")
    page.locator("#stop-texts textarea").fill("END\n\\n\\n")
    scripted_chat.send("question")
    assert scripted_chat.wait_for_reply() == "Well, ok"
    assert scripted.engine.requests[-1].reply_start == "Well, "
    assert scripted.engine.requests[-1].options.stop_texts == ("END", "\n\n")
    assert page.locator("#transcript .bot.message").last.evaluate(TEXT_WITHOUT_BOXES).strip() == "Well, ok"


def test_what_is_opened_stays_as_its_reader_left_it(scripted, scripted_chat):
    page = scripted_chat.page
    titles = page.locator("#transcript .thought-group > .title")
    folds = "document.querySelectorAll('#transcript .thought-group')"

    def ask(question: str) -> None:
        scripted.engine.enqueue(f"<think>About {question}.</think>", 0.5, "An answer.")
        scripted_chat.send(question)
        scripted_chat.wait_for_reply()

    def wait_for_open(are_open: str) -> None:
        page.wait_for_function(f"[...{folds}].map(({{ children }}) => children.length - 1).join('') === '{are_open}'")
        told = f"[...{folds}].map((fold) => Number(fold.querySelector('button').ariaExpanded === 'true')).join('')"
        page.wait_for_function(f"{told} === '{are_open}'")

    ask("first")
    for title in titles.all():
        title.click()
    wait_for_open("11")
    ask("second")
    wait_for_open("1100")
    expect(page.locator("#earlier")).to_contain_text("About first.")
    titles.nth(0).click()
    titles.nth(2).click()
    wait_for_open("0110")
    ask("third")
    wait_for_open("011000")
    titles.nth(4).click()
    wait_for_open("011010")
    scripted.engine.enqueue("<think>Once more.</think>", 0.5, "Another answer.")
    page.locator("#latest .message-buttons").get_by_role("button", name="Retry").click()
    expect(page.locator("#latest")).to_contain_text("Another answer.")
    scripted_chat.wait_for_reply()
    wait_for_open("011000")


def test_chat_is_saved_as_it_was_said_with_its_receipts(scripted, scripted_chat):
    scripted.engine.enqueue("<think>Hm.</think>", 0.3, "\t<b>answer</b> ![](x)\n")
    scripted_chat.open_settings()
    scripted_chat.page.locator("#system-prompt textarea").fill("Be kind.")
    scripted_chat.send("  <i>question</i>\n")
    scripted_chat.wait_for_reply()
    with scripted_chat.page.expect_download() as download:
        scripted_chat.page.locator("#save").click()
    saved = json.loads(download.value.path().read_text("utf-8"))
    assert saved["system_prompt"] == "Be kind."
    question, answer = saved["messages"]
    assert question == {"role": "user", "content": "  <i>question</i>\n"}
    assert (answer["role"], answer["content"]) == ("assistant", "\t<b>answer</b> ![](x)\n")
    assert answer["thought"] == "Hm."
    assert answer["receipt"] == dataclasses.asdict(RECEIPT)
