"""The chat of most Spaces, as it is copied from one to the next: a pipeline, a streamer, a thread for each message.

No type of numbers is named, so that transformers 5 takes that of the model's file, bfloat16 here. The only addition
is that the model's name comes from the environment.
"""

import os
from collections.abc import Iterator
from threading import Thread

import gradio as gr
from transformers import TextIteratorStreamer, pipeline

pipe = pipeline("text-generation", model=os.environ["MODEL"])


def respond(
    message: str, history: list[dict[str, str]], system_message: str, max_tokens: int, temperature: float, top_p: float
) -> Iterator[str]:
    """Yield the reply so far."""
    messages = [{"role": "system", "content": system_message}, *history, {"role": "user", "content": message}]
    streamer = TextIteratorStreamer(pipe.tokenizer, skip_prompt=True, skip_special_tokens=True)
    options = {
        "streamer": streamer,
        "max_new_tokens": int(max_tokens),
        "do_sample": temperature > 0,
        "temperature": temperature or None,
        "top_p": top_p,
    }
    Thread(target=pipe, args=(messages,), kwargs=options).start()
    text = ""
    for piece in streamer:
        text += piece
        yield text


demo = gr.ChatInterface(
    respond,
    additional_inputs=[
        gr.Textbox("You are a friendly chatbot.", label="System message"),
        gr.Slider(1, 2048, 512, step=1, label="Max new tokens"),
        gr.Slider(0, 2, 0.7, step=0.1, label="Temperature"),
        gr.Slider(0.1, 1, 0.95, step=0.05, label="Top-p"),
    ],
)

if __name__ == "__main__":
    demo.launch()
