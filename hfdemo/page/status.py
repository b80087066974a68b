"""What the page says of the model: how far loading is, what went wrong, or which model answers."""

from html import escape

from hfdemo.engines.protocol import Stage, Status
from hfdemo.models.plan import Plan
from hfdemo.models.plan_text import card_lines, size_text
from hfdemo.page.amounts import rate_text, time_left_text
from hfdemo.page.links import with_links
from hfdemo.words import Language, say

BUSY: tuple[Stage, ...] = ("resolving", "checking", "downloading", "converting", "loading")
"""The stages that end by themselves."""

CAN_BE_CANCELLED: tuple[Stage, ...] = ("checking", "downloading", "loading")

CAN_BE_TRIED_AGAIN: tuple[Stage, ...] = ("cancelled", "failed")


def progress_text(status: Status, language: Language) -> str:
    """Return one line on how far loading is."""
    if status.stage == "downloading":
        return " · ".join(part for part in _download_parts(status, language) if part)
    if status.stage == "loading" and status.total_bytes:
        return say("status.loading_share", language, model=status.model, share=_share(status))
    return say(f"status.{status.stage}", language, model=status.model, device=status.device)


def status_html(status: Status, language: Language) -> str:
    """Return the line under the page's title. All that comes from outside is escaped."""
    text = escape(progress_text(status, language))
    if status.stage == "ready" and "/" in status.model:
        owner = escape(status.model.rpartition("/")[0] + "/")
        text = text.replace(owner, f'<span class="owner">{owner}</span>', 1)  # a phone has no room for it
    lines = [f'<button type="button" class="stage {status.stage}">{text}</button>']
    if status.total_bytes and status.stage in ("downloading", "loading"):
        lines.append(f'<progress value="{status.done_bytes}" max="{status.total_bytes}"></progress>')
    if status.error:
        lines.append(f'<p class="problem">{with_links(status.error.text(language))}</p>')
    lines += [f'<p class="notice">{escape(note)}</p>' for note in _notes(status, language)]
    if status.fallback:
        reason = status.fallback.text(language)
        lines.append(f'<p class="notice">{with_links(say("status.embedded", language, reason=reason))}</p>')
    return f'<div role="status">{"".join(lines)}</div>'


def status_card_html(status: Status, language: Language) -> str:
    """Return the folded card of the model that is on its way or failed; empty if it isn't of interest."""
    if status.plan is None or status.stage not in (*BUSY, "failed"):
        return ""
    return folded_card_html(status.plan, language, is_open=status.stage == "failed" and not status.plan.fits)


def folded_card_html(plan: Plan, language: Language, is_open: bool = False) -> str:
    """Return the card behind its question."""
    question = escape(say("page.will_it_fit", language))
    return f"<details{' open' if is_open else ''}><summary>{question}</summary>{card_html(plan, language)}</details>"


def card_html(plan: Plan, language: Language) -> str:
    """Return what a model needs and how it will run, as a table. All of it is escaped."""
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in card_lines(plan, language)
    )
    return f'<table class="card">{"".join(rows)}</table>'


def _download_parts(status: Status, language: Language) -> list[str]:
    """Return what is known of a download: how much, how fast, how long still, which file."""
    if not status.total_bytes:
        return [say("status.downloading", language, model=status.model), status.file]
    amount = say(
        "status.downloading_bytes",
        language,
        model=status.model,
        done=size_text(status.done_bytes, digits=2),
        total=size_text(status.total_bytes, digits=2),
        share=_share(status),
    )
    left = status.total_bytes - status.done_bytes
    if not status.bytes_per_s or left <= 0:
        return [amount, status.file]
    left_s = left / status.bytes_per_s
    return [amount, rate_text(status.bytes_per_s, language), time_left_text(left_s, language), status.file]


def _share(status: Status) -> int:
    return min(100, 100 * status.done_bytes // status.total_bytes)


def _notes(status: Status, language: Language) -> list[str]:
    """Return what a visitor should know of the model."""
    if status.stage != "ready":
        return []
    notes = [note.text(language) for note in status.notes]
    if status.base_model and status.instruct_sibling:
        return [say("status.base_model_with_sibling", language, sibling=status.instruct_sibling), *notes]
    if status.base_model:
        return [say("status.base_model", language), *notes]
    return notes if status.takes_system_prompt else [say("status.no_system_role", language), *notes]
