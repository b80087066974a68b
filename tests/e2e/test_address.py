"""What the address, or a starter, brings."""

from playwright.sync_api import expect

from hfdemo.words import say
from tests.e2e.conftest import ChatPage


def test_the_address_fills_in_and_what_it_cannot_mean_is_said(scripted, page):
    chat = ChatPage(page)
    asked = "q=Hello%20%ED%95%9C%EA%B8%80&system=Be%20kind.&temperature=0.2&top_p=7&max_new_tokens=abc"
    chat.open(f"{scripted.url}/?{asked}&temprature=1&__theme=light&__sign=x&logs=container&utm_source=x")
    expect(chat.box).to_have_value("Hello 한글")
    expect(page.locator("#system-prompt textarea")).to_have_value("Be kind.")
    expect(page.locator("#temperature input[type=number]")).to_have_value("0.2")
    expect(page.locator("#top-p input[type=number]")).to_have_value("0.9")
    wrong = say("page.bad_in_address", names="Top p, Max new tokens")
    expect(chat.line).to_have_text(f"{wrong} {say('page.unknown_in_address', names='temprature')}")
    assert scripted.engine.requests == [], "it is filled in, not sent"


def test_what_the_address_or_a_starter_brings_is_for_one_chat_and_the_visitors_own_comes_back(scripted, scripted_chat):
    page = scripted_chat.page
    prompt, temperature = page.locator("#system-prompt textarea"), page.locator("#temperature input[type=number]")
    scripted_chat.open_settings()
    scripted_chat.starters.first.click()
    scripted_chat.wait_for_reply()
    expect(prompt).to_have_value(say("starter.travel.system"))
    page.reload()
    expect(scripted_chat.replies).to_have_count(1)
    expect(prompt).to_have_value(say("starter.travel.system"))
    scripted_chat.new_chat.click()
    expect(prompt).to_have_value("")

    prompt.fill("I wrote this.")
    scripted_chat.set_option("temperature", 0.3)
    scripted_chat.starters.nth(1).click()
    scripted_chat.wait_for_reply()
    assert scripted.engine.requests[-1].system_prompt == "I wrote this."
    expect(prompt).to_have_value("I wrote this.")

    scripted_chat.new_chat.click()
    scripted_chat.open(f"{scripted.url}/?system=Be%20kind.&temperature=0.9&max_new_tokens=33")
    expect(prompt).to_have_value("Be kind.")
    scripted_chat.set_option("max-new-tokens", 44)
    page.wait_for_timeout(400)
    page.reload()
    scripted_chat.starters.first.wait_for()
    expect(prompt).to_have_value("Be kind.")
    expect(temperature).to_have_value("0.9")
    scripted_chat.new_chat.click()
    expect(prompt).to_have_value("I wrote this.")
    expect(temperature).to_have_value("0.3")
    expect(page.locator("#max-new-tokens input[type=number]")).to_have_value("44")
