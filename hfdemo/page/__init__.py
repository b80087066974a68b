"""The Gradio page. Nothing outside this folder imports gradio, and nothing in it torch."""
