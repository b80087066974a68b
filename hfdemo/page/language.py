"""Which language the page speaks, and how.

Labels are translated in the browser (Gradio's I18n). What the server says during an event, it says in the
language of the page's language control, which each event hands over; an API call says it by `Accept-Language`.
"""

import gradio as gr

from hfdemo.page.gradio_private import I18nData
from hfdemo.words import LANGUAGES, Language, choose_language, texts

# Gradio's Korean has no words for its chat interface.
_GRADIO_WORDS = {
    "chat_interface.message_placeholder": "page.placeholder",
    "chat_interface.chatbot": "page.conversation",
}


def translations() -> gr.I18n:
    """Return the page's labels in every language, for `launch(i18n=...)`."""
    return gr.I18n(**{language: _labels(language) for language in LANGUAGES})


def label(name: str) -> I18nData:
    """Return the label `page.name`, which the browser translates."""
    return I18nData(f"page.{name}")


def language_of(request: gr.Request) -> Language:
    """Return the language an API caller asks for."""
    return choose_language(request.headers.get("accept-language"))


def _labels(language: Language) -> dict[str, str]:
    words = texts(language)
    own = {key: text for key, text in words.items() if key.startswith("page.")}
    return own | {theirs: words[ours] for theirs, ours in _GRADIO_WORDS.items()}
