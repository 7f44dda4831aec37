"""Sphinx extension: no launch buttons on pages of runs, whose notebooks are in no repository."""


def drop_buttons(app, pagename, templatename, context, doctree) -> None:
    """Drop the theme's launch buttons from pages of runs."""
    if pagename.startswith("runs/"):
        shown = context.get("header_buttons", [])
        shown[:] = [button for button in shown if button.get("label") != "launch-buttons"]


def setup(app) -> dict:
    """Register the step after the theme's own (501)."""
    app.connect("html-page-context", drop_buttons, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
