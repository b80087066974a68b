"""What the page says of the model: how far loading is, what went wrong, or which model answers."""

from html import escape

from hfdemo.messages import Status
from hfdemo.words import Language, say


def progress_text(status: Status, language: Language) -> str:
    """Return one sentence on how far loading is."""
    if status.stage == "downloading" and status.total_bytes:
        return say(
            "status.downloading_bytes",
            language,
            model=status.model,
            done=_megabytes(status.done_bytes),
            total=_megabytes(status.total_bytes),
            share=100 * status.done_bytes // status.total_bytes,
        )
    return say(f"status.{status.stage}", language, model=status.model, device=status.device)


def status_html(status: Status, language: Language) -> str:
    """Return the line under the page's title. All that comes from outside is escaped."""
    lines = [f'<span class="stage {status.stage}">{escape(progress_text(status, language))}</span>']
    if status.total_bytes and status.stage == "downloading":
        lines.append(f'<progress value="{status.done_bytes}" max="{status.total_bytes}"></progress>')
    if status.error:
        lines.append(f'<p class="problem">{escape(status.error.text(language))}</p>')
    lines += [f'<p class="notice">{escape(note)}</p>' for note in _notes(status, language)]
    if status.fallback:
        reason = status.fallback.text(language)
        lines.append(f'<p class="notice">{escape(say("status.embedded", language, reason=reason))}</p>')
    return f'<div role="status">{"".join(lines)}</div>'


def _notes(status: Status, language: Language) -> list[str]:
    """Return what a visitor should know of the model."""
    if status.stage != "ready":
        return []
    if status.base_model and status.instruct_sibling:
        return [say("status.base_model_with_sibling", language, sibling=status.instruct_sibling)]
    if status.base_model:
        return [say("status.base_model", language)]
    return [] if status.takes_system_prompt else [say("status.no_system_role", language)]


def _megabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
