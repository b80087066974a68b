"""A tiny Llama that writes a given reply on any path: each token of its vocabulary has one that follows it.

What is written is certain, at any temperature: whatever changes a reply isn't the model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.unit.families import byte_level

END = "<|end|>"
CONTROL = ("<|system|>", "<|user|>", "<|assistant|>", END)
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


_TURNS = (
    "{%% if tools %%}<|system|>{%% for tool in tools %%}{{ tool | tojson }}{%% endfor %%}<|end|>{%% endif %%}"
    "{%% for message in messages %%}<|{{ message.role }}|>{%% if message.tool_calls %%}%s{%% endif %%}"
    "{%% if message.role == 'tool' %%}%s{%% else %%}{{ message.content }}{%% endif %%}<|end|>{%% endfor %%}"
    "{%% if add_generation_prompt %%}<|assistant|>{%% endif %%}"
)

TOOL_TEMPLATES = {
    "Hermes": _TURNS
    % (
        "{% for call in message.tool_calls %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}",
        "<tool_response>{{ message.content }}</tool_response>",
    ),
    "Llama": _TURNS
    % (
        '{"name": "{{ message.tool_calls[0].function.name }}", '
        '"parameters": {{ message.tool_calls[0].function.arguments | tojson }}}',
        "{{ message.content | tojson }}",
    ),
    "Mistral": _TURNS
    % (
        "[TOOL_CALLS][{% for call in message.tool_calls %}{{ dict(call.function, id=call.id) | tojson }}{% endfor %}]",
        '{"content": {{ message.content }}, "call_id": "{{ message.tool_call_id }}"}',
    ),
    "GLM": _TURNS
    % (
        "{% for call in message.tool_calls %}<tool_call>{{ call.function.name }}\n"
        "{% for key, value in call.function.arguments.items() %}<arg_key>{{ key }}</arg_key>\n"
        "<arg_value>{{ value if value is string else value | tojson }}</arg_value>\n{% endfor %}"
        "</tool_call>{% endfor %}",
        "<tool_response>\n{{ message.content }}\n</tool_response>",
    ),
    "DeepSeek": _TURNS
    % (
        "<｜tool▁calls▁begin｜>{% for call in message.tool_calls %}<｜tool▁call▁begin｜>{{ call.function.name }}"
        "<｜tool▁sep｜>{{ call.function.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>",
        "{{ message.content }}",
    ),
    "DeepSeek V3.1": _TURNS
    % (
        "<｜tool▁calls▁begin｜>{% for call in message.tool_calls %}"
        "{{ '<｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>' + call.function.arguments }}"
        "<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>",
        "<｜tool▁output▁begin｜>{{ message.content }}<｜tool▁output▁end｜>",
    ),
    "DeepSeek V3.2": _TURNS
    % (
        "\n\n<｜DSML｜function_calls>\n{% for call in message.tool_calls %}"
        '<｜DSML｜invoke name="{{ call.function.name }}">\n{% for key, value in call.function.arguments.items() %}'
        "<｜DSML｜parameter name=\"{{ key }}\" string=\"{{ 'true' if value is string else 'false' }}\">"
        "{{ value if value is string else value | tojson }}</｜DSML｜parameter>\n{% endfor %}</｜DSML｜invoke>\n"
        "{% endfor %}</｜DSML｜function_calls>",
        "\n\n<function_results>\n<result>{{ message.content }}</result>\n</function_results>",
    ),
    "Cohere": _TURNS
    % (
        "<|START_THINKING|>{{ message.reasoning_content }}<|END_THINKING|><|START_ACTION|>[\n"
        '{% for call in message.tool_calls %}    {"tool_call_id": "{{ loop.index0 }}", '
        '"tool_name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}'
        "{% if not loop.last %},{% endif %}\n{% endfor %}]<|END_ACTION|>",
        '<|START_TOOL_RESULT|>[{"results": {"0": {{ message.content | tojson }}}}]<|END_TOOL_RESULT|>',
    ),
    "Gemma 4": _TURNS
    % (
        "{% for call in message.tool_calls %}{{ '<|tool_call>call:' + call.function.name + '{' }}"
        "{% for key, value in call.function.arguments | dictsort %}{{ ',' if not loop.first }}{{ key }}:"
        "{{ '<|\"|>' + value + '<|\"|>' if value is string else value }}{% endfor %}}<tool_call|>{% endfor %}",
        '<|tool_response>response:{{ message.name }}{value:<|"|>{{ message.content }}<|"|>}<tool_response|>',
    ),
    "FunctionGemma": _TURNS
    % (
        "{% for call in message.tool_calls %}{{ '<start_function_call>call:' + call.function.name + '{' }}"
        "{% for key, value in call.function.arguments | dictsort %}{{ ',' if not loop.first }}{{ key }}:"
        "{{ '<escape>' + value + '<escape>' if value is string else value }}{% endfor %}}<end_function_call>"
        "{% endfor %}",
        "<start_function_response>response:{{ message.content }}<end_function_response>",
    ),
    "LFM2": _TURNS
    % (
        "<|tool_call_start|>[{% for call in message.tool_calls %}{{ call.function.name }}("
        "{% for key, value in call.function.arguments.items() %}{{ ', ' if not loop.first }}{{ key }}="
        '{{ "\'" + value + "\'" if value is string else value | string }}{% endfor %}){% endfor %}]'
        "<|tool_call_end|>",
        "<|tool_response_start|>{{ message.content }}<|tool_response_end|>",
    ),
    "Kimi": _TURNS
    % (
        "<|tool_calls_section_begin|>{% for call in message.tool_calls %}<|tool_call_begin|>"
        "functions.{{ call.function.name }}:{{ loop.index0 }}<|tool_call_argument_begin|>"
        "{{ call.function.arguments | tojson }}<|tool_call_end|>{% endfor %}<|tool_calls_section_end|>",
        "## Return of {{ message.tool_call_id }}\n{{ message.content }}",
    ),
    "LFM2, which leaves calls to others": _TURNS
    % ("", "<|tool_response_start|>{{ message.content }}<|tool_response_end|>"),
    "Granite 3": _TURNS % ("", "{{ message.content }}"),
    "Phi-4-mini": (
        "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
        "{% if message['role'] == 'system' and 'tools' in message %}<|tools|>{{ message['tools'] }}<|/tools|>"
        "{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ),
    "Llama 4": _TURNS
    % (
        "<|python_start|>{{ message.content }}<|python_end|>{% for call in message.tool_calls %}"
        '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}{% endfor %}',
        "{{ message.content | tojson }}",
    ),
    "Llama 4 for vLLM": _TURNS
    % (
        "[{% for call in message.tool_calls %}{{ call.function.name }}({% for key in call.function.arguments %}"
        "{{ key }}=\"{{ call.function.arguments[key] }}\"{{ ', ' if not loop.last }}{% endfor %})"
        "{{ ', ' if not loop.last }}{% endfor %}]",
        "{{ message.content | tojson }}",
    ),
    "gpt-oss": (
        "{% if tools %}<|start|>developer<|message|>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>"
        "{% endif %}{% for message in messages %}{% if message.tool_calls %}"
        "<|start|><|assistant|> to=functions.{{ message.tool_calls[0].function.name }}<|channel|>commentary json"
        "<|message|>{{ message.tool_calls[0].function.arguments | tojson }}<|call|>"
        "{% elif message.role == 'tool' %}<|start|>functions.{{ message.name }} to=assistant<|channel|>commentary"
        "<|message|>{{ message.content | tojson }}<|end|>"
        "{% elif message.role == 'assistant' %}"
        "<|start|><|assistant|><|channel|>final<|message|>{{ message.content }}<|end|>"
        "{% else %}<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|><|assistant|>{% endif %}"
    ),
}
"""Templates that show tools, their calls and what they said as the families' own do."""

TOOL_CONTROL: dict[str, tuple[str, ...]] = {
    "LFM2, which leaves calls to others": (
        *("<|tool|>", "<|tool_call_start|>", "<|tool_call_end|>"),
        *("<|tool_response_start|>", "<|tool_response_end|>"),
    ),
    "Granite 3": ("<|tool|>", "<|tool_call|>"),
    "Phi-4-mini": ("<|tool|>", "<|tools|>", "<|/tools|>", "<|tool_call|>", "<|/tool_call|>"),
    "Llama 4": ("<|tool|>", "<|python_start|>", "<|python_end|>"),
    "Llama 4 for vLLM": ("<|tool|>", "<|python_start|>", "<|python_end|>"),
    "Hermes": (),
    "Llama": ("<|tool|>", "<|python_tag|>"),
    "Mistral": ("<|tool|>", "[TOOL_CALLS]"),
    "GLM": ("<|tool|>",),
    "DeepSeek": (
        *("<|tool|>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        *("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
    ),
    "DeepSeek V3.1": (
        *("<|tool|>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁output▁begin｜>"),
        *("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁output▁end｜>"),
    ),
    "DeepSeek V3.2": ("<|tool|>", "｜DSML｜"),
    "Cohere": (
        *("<|tool|>", "<|START_THINKING|>", "<|END_THINKING|>", "<|START_ACTION|>", "<|END_ACTION|>"),
        *("<|START_TOOL_RESULT|>", "<|END_TOOL_RESULT|>"),
    ),
    "Gemma 4": ("<|tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>", '<|"|>'),
    "FunctionGemma": (
        *("<|tool|>", "<start_function_call>", "<end_function_call>", "<escape>"),
        *("<start_function_response>", "<end_function_response>"),
    ),
    "LFM2": (
        *("<|tool|>", "<|tool_call_start|>", "<|tool_call_end|>"),
        *("<|tool_response_start|>", "<|tool_response_end|>"),
    ),
    "Kimi": (
        *("<|tool|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    ),
    "gpt-oss": ("<|start|>", "<|channel|>", "<|message|>", "<|return|>", "<|call|>", "<|constrain|>"),
}
"""Their control tokens, besides `CONTROL`."""


def save_scripted_model(
    folder: Path, reply: Sequence[str], template: str = TEMPLATE, control: Sequence[str] = CONTROL
) -> Path:
    """Save a model that answers with some words, of which none comes twice, each one token; return its folder.

    Behind the last one comes the first one again: only what ends a reply ends it. `END` is a control token.
    """
    words = [word for word in dict.fromkeys(reply) if word not in control]
    tokenizer: Any = byte_level(control, words)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokenizer.chat_template = template
    follows = dict(zip(("<|assistant|>", *reply), (*reply, reply[0]), strict=True))
    size = (len(tokenizer) + 31) // 32 * 32
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    torch.manual_seed(0)
    network = LlamaForCausalLM(config)  # the small random weights change no choice
    with torch.no_grad():
        network.model.embed_tokens.weight.fill_diagonal_(1)
        for word, next_word in follows.items():
            before, after = tokenizer.convert_tokens_to_ids([word, next_word])
            network.lm_head.weight[after, before] = 10
    network.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    tokenizer.save_pretrained(folder)
    return folder
