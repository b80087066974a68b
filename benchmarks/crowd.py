"""Many chats at once: tokens per second together, who waits, and how soon somebody who joins is answered.

`python -m benchmarks.crowd` lets 1, 2, 4, 8 and 16 chats begin at the same moment; then it lets others join while all
but one go on and on. hfdemo runs with each of its engines, llama.cpp with as many sequences in one batch.
"""

from typing import Any

from benchmarks.processes import find_peers, model_files, run_job
from benchmarks.prompts import SYSTEM_PROMPT, message_of
from benchmarks.replies import Answer
from benchmarks.report import parse_arguments, percentile, progress, publish, spread, table

COUNTS = (1, 2, 4, 8, 16)
PROMPT_TOKENS = 40
JOINS = {"single": 2, "batched": 10, "llama": 10}
"""How often somebody joins, in each run; in a line this takes long."""


def main() -> None:
    """Measure, and keep the table."""
    arguments = parse_arguments(
        __doc__,
        ("--scheduling", {"nargs": "+", "default": ["single", "batched"], "help": "values of HFDEMO_SCHEDULING"}),
        ("--counts", {"nargs": "+", "type": int, "default": COUNTS, "help": "how many chats at once"}),
    )
    peers, note = find_peers("llama")
    job = _questions() | {"counts": arguments.counts}
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in [*arguments.scheduling, *peers]}
    for run in range(arguments.runs):
        for name, results in measured.items():
            peer = "llama" if name == "llama" else "ours"
            job |= {"run": run, "joins": JOINS.get(name, 10)}
            results.append(run_job("benchmarks.crowd_peers", peer, job, HFDEMO_SCHEDULING=name))
            shown = ", ".join(f"{count}: {_rate(result):.0f}/s" for count, result in results[-1].items())
            progress(f"run {run + 1}, {name}: {shown}")
    publish("crowd", _table(measured, arguments.counts), measured, arguments.runs, note)


def _questions() -> dict[str, Any]:
    """Return what is asked, as messages for hfdemo and as ids for llama.cpp."""
    from hfdemo.chat.messages import Message
    from hfdemo.models.load import load_prompts

    builder = load_prompts(model_files()["model"])
    question = message_of(builder, PROMPT_TOKENS)
    messages = [f"Story {number} of {max(COUNTS)}. {question}" for number in range(1, max(COUNTS) + 1)]
    prompts = [builder.build((Message("user", message),), SYSTEM_PROMPT, 1).ids for message in messages]
    return {"messages": messages, "prompts": prompts}


def _table(measured: dict[str, list[dict[str, Any]]], counts: list[int]) -> str:
    rows = []
    for count in map(str, counts):
        for name, runs in measured.items():
            results = [run[count] for run in runs]
            waits = [first_s for result in results for first_s in result["joins"]]
            rows.append(
                [
                    "llama.cpp" if name == "llama" else f"hfdemo, {name}",
                    count,
                    spread(map(_rate, results)).text(0),
                    _over_llama(results, [run[count] for run in measured.get("llama", [])]),
                    spread(map(_fairness, results)).text(),
                    f"{percentile(waits, 50):.2f}",
                    f"{percentile(waits, 99):.2f}",
                ]
            )
    head = ["Program", "Chats", "Tokens/s together", "over llama.cpp", "Slowest over fastest"]
    return table([*head, "Joining: first token, s, p50", "p99"], rows)


def _over_llama(results: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    if not others or results == others:
        return ""
    return spread(_rate(ours) / _rate(llama) for ours, llama in zip(results, others, strict=True)).text()


def _rate(result: dict[str, Any]) -> float:
    """Return the tokens of all chats a second, from their common beginning to the end of the last."""
    answers = [Answer(**answer) for answer in result["together"]]
    return sum(answer.new_tokens for answer in answers) / max(answer.first_s + answer.rest_s for answer in answers)


def _fairness(result: dict[str, Any]) -> float:
    answers = [Answer(**answer) for answer in result["together"]]
    rates = [answer.new_tokens / (answer.first_s + answer.rest_s) for answer in answers]
    return min(rates) / max(rates)


if __name__ == "__main__":
    main()
