"""The engine of a model that answers elsewhere.

vLLM, TGI, SGLang, llama.cpp's server, Inference Endpoints and providers all speak the protocol of OpenAI's chat
completions. `huggingface_hub.AsyncInferenceClient` speaks it, too, but splits a stream at U+2028 and its like, which
servers write as they are into their JSON; loses an error that comes with status 200 or in chunks; and keeps each
connection until the client is closed. So this package reads the stream itself, over the HTTP library that
huggingface_hub brings. Nothing here needs torch or transformers.
"""
