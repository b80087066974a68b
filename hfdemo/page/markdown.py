"""Make Markdown inert, reversibly: what a model or a visitor wrote can draw text, and nothing else.

Gradio's sanitiser lets through forms, external images, overlays and some script links. Filters that rewrite
Markdown break it (`if a<b and …`) and can't be undone. So an invisible character, U+2060 WORD JOINER, is put
where HTML, an image and a few other things would begin. It is put everywhere, code included: a scanner for code
could disagree with the renderer about what is code. Copies have none: `page.js` halves each run of marks.
"""

import re

MARK = "\u2060"

_HTML = re.compile(r"""<(?!(?:https?://|mailto:)[^\s<>"'`]*>)(?=\u2060*[A-Za-z/!?])""")
_IMAGE = re.compile(r"!(?=\u2060*\[)")
# CommonMark closes no emphasis after punctuation before a letter, as Korean particles stand: **"문서"**는
_BOLD_BEFORE_LETTER = re.compile(r"(?<=[^\w\s*\u2060])\*\*(?=\w)")
# A fence named mermaid would become a diagram, with links and styles of its own. One named cpp makes Gradio 6.31
# draw the whole message empty: its highlighter raises.
_FENCE = re.compile(r"((?:(?<!`)`{3,}+|(?<!~)~{3,}+)[ \t]*+)(?=\u2060*(?:cpp|mermaid)\b)")


def make_inert(text: str) -> str:
    """Return Markdown that draws the same and does nothing. A mark of the text's own is doubled."""
    text = _HTML.sub("<" + MARK, text.replace(MARK, MARK * 2))
    text = _IMAGE.sub("!" + MARK, text)
    text = _BOLD_BEFORE_LETTER.sub(MARK + "**", text)
    return _FENCE.sub(r"\1" + MARK, text)
