"""Make a built site smaller by what no page of it uses. Text, figures of pages and data stay as they are.

What jupyter-book and its theme copy into every site is most of this: drawings of 2,000 icons of which pages show
a dozen, fonts in a second format, and each figure once more inside the notebook that is offered as a download.
"""

import re
from pathlib import Path

import nbformat

# An icon in Font Awesome's script: name, width and height, other names and codes, character, outline.
ICON = re.compile(
    r'(?:"(?P<quoted>[\w-]+)"|(?P<bare>[A-Za-z0-9_$]+)):'
    r'\[\d+,\d+,\[(?P<others>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?'
)
SHOWN = re.compile(r"\bfa-([a-z0-9-]+)")
TRUETYPE = re.compile(r',\s*url\([^()]*\.ttf\)\s*format\("truetype"\)')
UNREAD = (
    "_static/locales/**/*.[mp]o",  # the theme's own translations, from which pages were made
    "_static/mathjax/input/tex/extensions/all-packages.js",  # the other files of its folder once more
)


def slim(site: Path) -> None:
    """Take out of a built site, a folder of HTML, what its pages do not use.

    Icons stay that a page or script names (`fa-...`), fonts stay in the format that every browser reads, and of a
    picture that pages show from _images no copy stays in _static. Notebooks to download keep text and code;
    their outputs are on the pages.
    """
    static = site / "_static"
    for pattern in UNREAD:
        for file in site.glob(pattern):
            file.unlink()
    for notebook in site.glob("_sources/**/*.ipynb"):
        nbformat.write(cleared(nbformat.read(notebook, as_version=4)), notebook)
    drawings = static / "scripts" / "fontawesome.js"
    naming = [file for file in site.rglob("*") if file.suffix in (".html", ".js", ".css") and file != drawings]
    texts = {file: file.read_text() for file in naming}
    if drawings.is_file():
        shown = {name for file, text in texts.items() if file.suffix != ".css" for name in SHOWN.findall(text)}
        drawings.write_text(icons(drawings.read_text(), shown))
    for file, text in texts.items():
        if file.suffix == ".css" and (kept := TRUETYPE.sub("", text)) != text:
            file.write_text(kept)
    for font in static.glob("vendor/fontawesome/**/*.ttf"):
        if font.with_suffix(".woff2").is_file():
            font.unlink()
    pages = {picture.read_bytes() for picture in site.glob("_images/*")}
    for picture in static.glob("*.*"):
        if picture.suffix in (".jpg", ".png", ".svg") and picture.read_bytes() in pages:
            # A page names its folder, a style sheet or script beside the picture only its file.
            names = re.compile(rf"(?<!_images/){re.escape(picture.name)}")
            if not any(names.search(text) for text in texts.values()):
                picture.unlink()


def cleared(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook (changed in place) as one that was never run: without outputs and their numbers."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def icons(script: str, shown: set[str]) -> str:
    """Return Font Awesome's script with those drawings only that are `shown`, by their name or by another of it.

    >>> sun, search = 'sun:[9,9,[9],"f1","M0"],', '"magnifying-glass":[9,9,[128269,"search"],"f002","M1"]'
    >>> icons(f"p={{{sun}{search}}}", {"search"})
    'p={"magnifying-glass":[9,9,[128269,"search"],"f002","M1"]}'
    """

    def kept(icon: re.Match) -> str:
        names = {icon["quoted"] or icon["bare"], *re.findall(r'"([^"]+)"', icon["others"])}
        return icon[0] if names & shown else ""

    return ICON.sub(kept, script)
