"""`python -m hfdemo check MODEL`: does it fit this machine, how long does the download take, how fast will it be?"""

import json
import os
import sys
from dataclasses import asdict, replace

from hfdemo.commands.cpu import cpu_line
from hfdemo.commands.endpoint import endpoint_lines
from hfdemo.commands.terminal import exit_status, prepare_terminal, warn_of_variables
from hfdemo.errors import HfdemoError
from hfdemo.models.plan import Plan
from hfdemo.models.plan_text import card_lines
from hfdemo.settings import Quantize, Settings, from_env
from hfdemo.words import Language, language_of_terminal, say


def run(named: str, context: int | None, quantize: Quantize | None, language: Language | None, as_json: bool) -> int:
    """Print the plan for a model, and return the exit status: 0 if it fits.

    Args:
        named: the model, as in `HFDEMO_MODEL`.
        context: how many tokens a conversation may have; None is the host's setting.
        quantize: whether to store the weights in fewer bits; None is the host's setting.
        language: language of the output; None is the terminal's.
        as_json: print JSON for programs instead of text for people.
    """
    prepare_terminal()
    language = language or language_of_terminal(os.environ)
    warn_of_variables(language)
    try:
        settings = from_env(os.environ)
        settings = replace(settings, context=context or settings.context, quantize=quantize or settings.quantize)
        if replace(settings, model=named).is_remote:  # what it needs is not this machine's concern
            print("\n".join(endpoint_lines(named, settings, language)), file=sys.stderr if as_json else sys.stdout)
            return 0
        from hfdemo.models.check import check_model, refuse_misfit
        from hfdemo.models.choose import parse_model

        checked = check_model(parse_model(named), settings)
        plan = checked.plan
        print(_as_json(plan) if as_json else _card(plan, language))  # noqa: T201
        refuse_misfit(plan, settings)
        lines = [note.text(language) for note in checked.notes]
        lines += try_template(named, settings, language) if checked.files else []
        print("\n".join(lines), end="\n" if lines else "", file=sys.stderr if as_json else sys.stdout)
    except HfdemoError as error:
        print(error.text(language), file=sys.stderr)  # noqa: T201
        return exit_status(error)
    return 0


def try_template(named: str | None, settings: Settings, language: Language) -> list[str]:
    """Try the chat template of a model whose files are here, and return what there is to say of it.

    Raises:
        HfdemoError: it can't be used.
    """
    from hfdemo.models.load import load_prompts

    prompts = load_prompts(named, settings)
    template = "no_template" if prompts.base_model else "template"
    modes = ", ".join(prompts.thinking_modes) or "-"
    return [say(f"doctor.{template}", language, modes=modes), *(note.text(language) for note in prompts.notes)]


def _card(plan: Plan, language: Language) -> str:
    text = table(plan, language)
    return f"{text}\n{cpu_line(plan.machine, language)}" if plan.way == "cpu" else text


def table(plan: Plan, language: Language) -> str:
    """Return a plan as lines of text."""
    return "\n".join(f"{label}: {value}" for label, value in card_lines(plan, language))


def _as_json(plan: Plan) -> str:
    return json.dumps(
        asdict(plan) | {"needed_bytes": plan.needed_bytes, "most_bytes": plan.most_bytes, "fits": plan.fits},
        ensure_ascii=False,
    )
