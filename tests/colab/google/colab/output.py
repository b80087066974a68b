from IPython.display import HTML, display


def serve_kernel_port_as_iframe(port, path="/", width="100%", height="400", cache_in_notebook=False):
    """Show a port of this machine; the true one goes through Colab's proxy."""
    display(HTML(f'<iframe src="http://127.0.0.1:{port}{path}" width="{width}" height="{height}"></iframe>'))
