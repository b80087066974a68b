"""How the page looks: quiet surfaces and the system's own fonts, so that nothing is fetched from elsewhere."""

import gradio as gr


def make_theme() -> gr.themes.Base:
    """Return the theme; dark follows the visitor's system."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=["system-ui", "-apple-system", "Segoe UI", "Noto Sans KR", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        block_border_width="0px",
        block_shadow="none",
        body_text_color_subdued="*neutral_500",  # Gradio's own shades are too pale to read
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_900",
        input_border_width="1px",
    )
