"""Sphinx extension: the book's pages load nothing from other servers.

MathJax and its fonts are copied out of the package sphinx-mathjax-offline (the part that the pages use), and the
scripts of Thebe, which offers to load code from a content delivery network, are left out. So are the source maps of
the theme, which only its authors' debugger reads: a seventh of the site.
"""

import importlib.util
import shutil
from pathlib import Path

PACKAGE = "sphinx-mathjax-offline"  # the importable name really has dashes
PARTS = (  # what _config.yml's mathjax3_config loads, and what these load themselves
    *("startup.js", "core.js", "adaptors/liteDOM.js", "a11y/assistive-mml.js"),
    *("input/tex-base.js", "input/tex/extensions/ams.js"),
    *("output/chtml.js", "output/chtml/fonts/tex.js", "output/chtml/fonts/woff-v2"),
)


def settle_assets(app, exception) -> None:
    """Copy MathJax to _static/mathjax when the pages are written, and drop source maps."""
    if exception or app.builder.format != "html":
        return
    source = Path(importlib.util.find_spec(PACKAGE).origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copy(source / part, target / part)
    for unread in Path(app.outdir).rglob("*.map"):
        unread.unlink()


def clean_scripts(app, pagename, templatename, context, doctree) -> None:
    """Drop Thebe, and scripts that are registered twice (a second declaration is an error in the browser)."""
    seen, kept = set(), []
    for script in context.get("script_files", []):
        name, body = str(script.filename or ""), script.attributes.get("body") or ""
        if (name, body) in seen or "thebe" in (name + body).lower():
            continue
        seen.add((name, body))
        kept.append(script)
    context["script_files"][:] = kept


def setup(app) -> dict:
    """Register both steps."""
    app.connect("html-page-context", clean_scripts, priority=900)
    app.connect("build-finished", settle_assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
