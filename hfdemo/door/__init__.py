"""The door for programs that know OpenAI's API: `/v1/chat/completions` and what belongs to it.

It goes the page's way: what comes in becomes a `ChatRequest`, `Answering` answers it, and what goes out is made from
the deltas. A connection that is closed sets the reply's stop signal.

Source of the forms: https://github.com/openai/openai-openapi
"""
