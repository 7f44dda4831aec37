"""Make a built site smaller by what no page of it uses. Text and data stay as they are, and figures as they look.

What jupyter-book and its theme copy into every site is most of this: drawings and fonts of 2,000 icons of which
pages show a dozen, the index of the search on pages that do not search, and each figure once more inside the
notebook that is offered as a download. Pictures below the first screen are loaded when a reader comes near them,
and figures of chapters are written in the order in which a browser shows them at once, which is also shorter.
"""

import io
import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
from fontTools import subset, ttLib
from PIL import Image

SHOWN = re.compile(r"\bfa-([a-z0-9-]+)")
# An icon in a style sheet, as a character of a font; and the font, in one of two formats.
CHARACTER = re.compile(r'(?P<names>(?:\.fa-[\w-]+:before,?)+)\{content:"[^"]*"\}')
FONT = re.compile(
    r'url\((?P<file>[^()]*?/fontawesome/[^()]*)\.woff2\)\s*format\(["\']woff2["\']\)'
    r'(?:,\s*url\([^()]*\.ttf\)\s*format\("truetype"\))?'
)
# The theme also draws its icons by a script of 1.5 MB; the font alone shows them, without any script.
DRAWINGS = re.compile(r'\s*<script[^>]* src="[^"]*fontawesome\.js[^"]*"></script>')
# Style sheets of frameworks, most of whose rules are for pages of others; what scripts build by parts stays.
FRAMEWORKS = (
    "styles/pydata-sphinx-theme.css",
    "sphinx-design.min.css",
    "mystnb.*.css",
    "pygments.css",
    "basic.css",
)
RULE = re.compile(r"(?P<selectors>[^{}@;]+)\{[^{}]*\}")
WORD = re.compile(r"[A-Za-z_][\w-]*")
BUILT = ("bs-",)
OWN = ("book.css", "runs.css", "landing.css", "explorer.css")  # whose comments are for those who change them
COMMENT = re.compile(r"/\*.*?\*/\n?", re.DOTALL)
PRIVATE = re.compile(r"\\(?P<code>[ef][0-9a-f]{3})(?![0-9a-f])|(?P<itself>[\ue000-\uf8ff])")
# The theme loads the search for a list of hits below the field, which the book does not have; and where the search
# is loaded, Sphinx takes the page for the page of the search and marks no word on it.
SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
PICTURE = re.compile(r'<img (?P<rest>[^>]*src="(?P<file>[^"]*_images/[^"]+\.(?:jpg|png|webp))"[^>]*)>')
FIGURES = f"_images/{'[0-9a-f]' * 64}.jpg"  # of notebooks, as myst-nb names them
TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
GAP = re.compile(r">\s*\n\s*<")  # of a table's source, nothing that is seen
AT_ONCE = 1  # pictures of a page that are loaded with it
UNREAD = ("_static/locales/**/*.[mp]o",)  # the theme's own translations, from which pages were made


def slim(site: Path) -> None:
    """Take out of a built site, a folder of HTML, what its pages do not use.

    Icons stay that a page or script names (`fa-...`), and the rules of style sheets for classes that one names. Of
    a picture that pages show from _images no copy stays in _static. Notebooks to download keep text and code; their
    outputs are on the pages.
    """
    static = site / "_static"
    for pattern in UNREAD:
        for file in site.glob(pattern):
            file.unlink()
    for notebook in site.glob("_sources/**/*.ipynb"):
        nbformat.write(cleared(nbformat.read(notebook, as_version=4)), notebook)
    (static / "scripts" / "fontawesome.js").unlink(missing_ok=True)
    texts = {file: file.read_text() for file in site.rglob("*") if file.suffix in (".html", ".js", ".css")}
    spoken = "\n".join(text for file, text in texts.items() if file.suffix != ".css")
    shown, words = set(SHOWN.findall(spoken)), set(WORD.findall(spoken))
    styles = {file: characters(text, shown) for file, text in texts.items() if file.suffix == ".css"}
    for sheet in (sheet for pattern in FRAMEWORKS for sheet in static.glob(pattern)):
        styles[sheet] = rules(styles[sheet], words)
    for sheet in (static / name for name in OWN if (static / name) in styles):
        styles[sheet] = COMMENT.sub("", styles[sheet])
    used = {code for text in styles.values() for code in codes(text)}
    for font in list(static.glob("vendor/fontawesome/**/*.ttf")):
        smaller(font, used).save(font.with_suffix(".woff"))
        for file in (font, font.with_suffix(".woff2")):
            file.unlink(missing_ok=True)
    for file, text in styles.items():
        file.write_text(in_woff(text, file.parent))
    for page, text in texts.items():
        if page.suffix == ".html":
            text = text if page == site / "search.html" else SEARCH.sub("", text)
            text = TABLE.sub(lambda table: GAP.sub("><", table[0]), DRAWINGS.sub("", text))
            page.write_text(when_near(text, page.parent))
    pages = {picture.read_bytes() for picture in site.glob("_images/*")}
    for picture in static.glob("*.*"):
        if picture.suffix in (".jpg", ".png", ".svg") and picture.read_bytes() in pages:
            # A page names its folder, a style sheet or script beside the picture only its file.
            names = re.compile(rf"(?<!_images/){re.escape(picture.name)}")
            if not any(names.search(text) for text in texts.values()):
                picture.unlink()
    for figure in site.glob(FIGURES):
        figure.write_bytes(progressive(figure.read_bytes()))


def progressive(picture: bytes) -> bytes:
    """Return a JPEG picture as a progressive one of the same quality, or as it is where that is longer."""
    made = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as opened:
        opened.save(made, "JPEG", quality="keep", optimize=True, progressive=True)
    return min(made.getvalue(), picture, key=len)


def cleared(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook (changed in place) as one that was never run: without outputs and their numbers."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def characters(style: str, shown: set[str]) -> str:
    """Return a style sheet without the icons of the font that are not `shown`.

    >>> characters('.fa-sun:before{content:"a"}.fa-moon:before,.fa-night:before{content:"b"}p{}', {"night"})
    '.fa-moon:before,.fa-night:before{content:"b"}p{}'
    """
    named = re.compile(r"\.fa-([\w-]+):before")
    return CHARACTER.sub(lambda rule: rule[0] if set(named.findall(rule["names"])) & shown else "", style)


def rules(style: str, words: set[str]) -> str:
    """Return a style sheet without the rules for classes that are none of the `words` of pages and scripts.

    >>> rules("a{x:1}.sun,.moon{x:2}@media print{.moon p{x:3}}p:not(.moon){x:4}.bs-a{}", {"sun"})
    'a{x:1}.sun,.moon{x:2}@media print{}p:not(.moon){x:4}.bs-a{}'
    """

    def kept(rule: re.Match) -> str:
        selectors = re.sub(r"/\*.*?\*/|\[[^]]*\]", "", rule["selectors"], flags=re.S)
        while selectors != (selectors := re.sub(r"\([^()]*\)", "", selectors)):
            pass
        classes = (
            [c.replace("\\", "") for c in re.findall(r"\.((?:[\w-]|\\.)+)", s)] for s in selectors.split(",")
        )
        return rule[0] if any(all(c in words or c.startswith(BUILT) for c in each) for each in classes) else ""

    return RULE.sub(kept, style)


def codes(style: str) -> set[int]:
    r"""Return the characters for private use, as fonts of icons have, that a style sheet shows.

    >>> sorted(map(hex, codes(r'a{content:"\f0c1"}p{content:"' + chr(0xE123) + r'"}b{content:"\2713"}')))
    ['0xe123', '0xf0c1']
    """
    return {int(found["code"], 16) if found["code"] else ord(found["itself"]) for found in PRIVATE.finditer(style)}


def smaller(font: Path, used: Iterable[int]) -> ttLib.TTFont:
    """Return the font of a file with the characters `used`, to be saved in the format WOFF."""
    options = subset.Options(flavor="woff", notdef_outline=True)
    made = subset.load_font(io.BytesIO(font.read_bytes()), options)  # of a name, it would keep the file open
    maker = subset.Subsetter(options)
    maker.populate(unicodes=used)
    maker.subset(made)
    made.flavor = "woff"
    return made


def in_woff(style: str, folder: Path) -> str:
    """Return the style sheet of a folder with the fonts of icons in the format that their folder has."""

    def kept(font: re.Match) -> str:
        file = f"{font['file']}.woff"
        return f'url({file}) format("woff")' if (folder / file).is_file() else font[0]

    return FONT.sub(kept, style)


def when_near(page: str, folder: Path) -> str:
    """Return a folder's page with the sizes of its pictures, all but the first loaded when a reader is near.

    With their sizes nothing moves when they come.
    """
    count = 0

    def told(picture: re.Match) -> str:
        nonlocal count
        count += 1
        file = folder / picture["file"]
        if "width=" in picture["rest"] or not file.is_file():
            return picture[0]
        with Image.open(file) as opened:
            width, height = opened.size
        late = 'loading="lazy" ' if count > AT_ONCE else ""
        return f'<img {late}width="{width}" height="{height}" {picture["rest"]}>'

    return PICTURE.sub(told, page)
