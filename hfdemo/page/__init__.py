"""The Gradio page. Nothing outside this folder imports gradio, and nothing in it torch."""

from hfdemo.page.gradio_import import skip_stub_files

skip_stub_files()
