"""A site is made smaller by what its pages do not use, and by nothing else."""

import html.parser
import io
import re
from copy import deepcopy

import nbformat
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont
from PIL import Image

from workflow import ROOT
from workflow.site import build, slim


def _png():
    written = io.BytesIO()
    Image.new("RGB", (40, 20)).save(written, "png")
    return written.getvalue()


FIGURE = _png()
FONT = "@font-face{src:url(../vendor/fontawesome/webfonts/%s.woff2) format('woff2')%s}"
TRUETYPE = ',url(../vendor/fontawesome/webfonts/%s.ttf) format("truetype")'


class Icons(html.parser.HTMLParser):
    """Collects the names of a page's icons, from its elements <i>."""

    def __init__(self, page):
        super().__init__()
        self.names = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        names = (dict(attributes).get("class") or "").split() if tag == "i" else ()
        self.names |= {n[3:] for n in names if n.startswith("fa-")} - {"solid", "regular", "brands", "lg"}


@pytest.fixture
def folder(tmp_path):
    """A site of one page with what slim looks at; returns a function that writes further files."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    write("book/a.html", '<i class="fa-solid fa-sun"></i><img src="../_images/a.png"/>')
    write("_images/a.png", FIGURE)
    return write


def left(site):
    return {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}


def test_copies_of_figures_go_unless_something_names_them(folder, tmp_path):
    for name in ("a.png", "copy.png", "named.png", "styled.png"):
        folder(f"_static/{name}", FIGURE)
    folder("_static/other.png", FIGURE + b"!")
    folder("_static/a.css", "p{background:url(styled.png)}")
    folder("book/b.html", '<img src="../_static/named.png"/>')
    slim.slim(tmp_path)
    assert left(tmp_path / "_static") == {"named.png", "styled.png", "other.png", "a.css"}
    assert left(tmp_path / "_images") == {"a.png"}


@pytest.fixture
def truetype(tmp_path):
    """The bytes of a font of three squares: sun (f185), moon (f186) and a link (f0c1)."""
    made = FontBuilder(1000, isTTF=True)
    names = {0xF185: "sun", 0xF186: "moon", 0xF0C1: "link"}
    made.setupGlyphOrder([".notdef", *names.values()])
    made.setupCharacterMap(names)
    pen = TTGlyphPen(None)
    for move, place in (("moveTo", (0, 0)), ("lineTo", (0, 500)), ("lineTo", (500, 500))):
        getattr(pen, move)(place)
    pen.closePath()
    square = pen.glyph()
    made.setupGlyf(dict.fromkeys((".notdef", *names.values()), square))
    made.setupHorizontalMetrics(dict.fromkeys((".notdef", *names.values()), (600, 0)))
    made.setupHorizontalHeader(ascent=800, descent=-200)
    made.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    made.save(tmp_path / "x.ttf")
    return (tmp_path / "x.ttf").read_bytes()


def test_a_font_keeps_the_icons_that_pages_and_style_sheets_show(folder, tmp_path, truetype):
    fonts = "_static/vendor/fontawesome/webfonts"
    folder(f"{fonts}/solid.ttf", truetype)
    folder(f"{fonts}/solid.woff2", b"the same")
    folder(f"{fonts}/alone.woff2", b"a font")
    rules = '.fa-sun:before{content:"\\f185"}.fa-moon:before{content:"\\f186"}a:after{content:"\\f0c1"}'
    style = folder("_static/styles/a.css", FONT % ("solid", TRUETYPE % "solid") + rules)
    other = folder("_static/styles/b.css", FONT % ("alone", ""))
    slim.slim(tmp_path)
    assert left(tmp_path / fonts) == {"solid.woff", "alone.woff2"}
    shown = '@font-face{src:url(../vendor/fontawesome/webfonts/solid.woff) format("woff")}'
    assert style.read_text() == shown + '.fa-sun:before{content:"\\f185"}a:after{content:"\\f0c1"}'
    assert other.read_text() == FONT % ("alone", "")
    with TTFont(tmp_path / fonts / "solid.woff") as font:
        assert set(font.getBestCmap()) == {0xF185, 0xF0C1}


def test_pages_load_the_search_only_where_it_is_and_no_drawings(folder, tmp_path):
    search = '<script src="../_static/searchtools.js"></script>\n<script src="../searchindex.js"></script>'
    drawings = '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>'
    page = folder("book/b.html", f"<head>{search}{drawings}</head>")
    of_search = folder("search.html", f"<head>{search}{drawings}</head>")
    folder("_static/scripts/fontawesome.js", "p={}")
    slim.slim(tmp_path)
    assert page.read_text() == "<head></head>" and of_search.read_text() == f"<head>{search}</head>"
    assert not (tmp_path / "_static/scripts/fontawesome.js").exists()


def test_comments_of_our_own_style_sheets_stay_at_home_and_rules_are_published(folder, tmp_path):
    folder("_static/book.css", "/* why */\n.a { x: 1; }\n@media print {\n  /* and\n  why */\n  .b { y: 2; } }\n")
    folder("_static/theirs.css", "/*! licence */.c{z:3}")
    slim.slim(tmp_path)
    assert (tmp_path / "_static/book.css").read_text() == ".a { x: 1; }\n@media print {\n    .b { y: 2; } }\n"
    assert (tmp_path / "_static/theirs.css").read_text() == "/*! licence */.c{z:3}"


def test_pictures_have_their_room_before_they_come(folder, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "_images" / "b.png")
    image = '<img alt="x" src="../_images/b.png" />'
    sized = '<img src="../_images/b.png" style="width: 5px" />'
    page = folder("book/b.html", image + image + sized + '<img src="../_static/c.png"/>')
    slim.slim(tmp_path)
    room = 'width="30" height="20" '
    assert page.read_text() == (
        image.replace("<img ", f"<img {room}")
        + image.replace("<img ", f'<img loading="lazy" {room}')
        + sized.replace("<img ", f'<img loading="lazy" {room}')
        + '<img src="../_static/c.png"/>'
    )


def test_of_a_notebook_only_the_outputs_go():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        ran = nbformat.read(path, as_version=4)
        offered = slim.cleared(deepcopy(ran))
        nbformat.validate(offered)
        assert offered.metadata == ran.metadata and len(offered.cells) == len(ran.cells)
        for before, after in zip(ran.cells, offered.cells, strict=True):
            run = {"outputs": [], "execution_count": None} if before.cell_type == "code" else {}
            assert after == before | run, path.name
        assert sum(len(cell.get("outputs", ())) for cell in ran.cells) >= 5, path.name


def test_notebooks_to_download_have_the_code_of_their_chapter_and_no_outputs(site):
    for path in build.chapters():
        offered = nbformat.read(site / "_sources" / "notebooks" / path.name, as_version=4).cells
        code = [cell for cell in offered if cell.cell_type == "code"]
        assert not any(cell.outputs or cell.execution_count for cell in code), path.name
        stored = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.source for cell in code] == [cell.source for cell in stored], path.name


def test_every_file_that_a_style_sheet_names_exists(site):
    named = 0
    for style in (site / "_static").rglob("*.css"):
        for url in re.findall(r"url\([\"']?([^)\"'#?]+)", style.read_text()):
            if not re.match(r"data:|[a-z]+://", url):
                named += 1
                assert (style.parent / url).is_file(), f"{style.name} names {url}"
    assert named >= 3


def test_every_icon_is_drawn_in_a_browser(site, chromium, serve):
    """The character of each icon is one of the font's: an unknown one has the width of the font that stands in."""
    root, seen = serve(site), set()
    for name in ("book/intro", "notebooks/minmax_cam", "search", "_modules/cam_utils/pairs"):
        wanted = Icons(site / f"{name}.html").names
        page = chromium.new_page(viewport={"width": 1300, "height": 900})
        page.goto(f"{root}{name}.html", wait_until="networkidle")
        page.evaluate("() => document.fonts.load('900 1em \"Font Awesome 6 Free\"')")
        characters = page.eval_on_selector_all(
            "i[class*='fa-']",
            """all => all.map(i => [[...i.classList].filter(c => c.startsWith('fa-')).map(c => c.slice(3)),
                getComputedStyle(i, '::before').content])""",
        )
        drawn = {word: content for words, content in characters for word in words}
        assert len(wanted) > 4 and wanted <= set(drawn), name
        assert all(0xE000 <= ord(drawn[icon].strip('"')) < 0xF900 for icon in wanted - {"fw"}), name
        seen |= {ord(drawn[icon].strip('"')) for icon in wanted - {"fw"}}
        page.close()
    (font,) = (site / "_static").glob("vendor/fontawesome/**/fa-solid-900.woff")
    assert font.stat().st_size < 20_000
    with TTFont(font) as opened:
        assert seen <= set(opened.getBestCmap())
    assert not list(site.rglob("*.ttf")) and not list(site.rglob("*.po"))


def test_figures_of_notebooks_become_progressive_and_look_the_same(folder, tmp_path):
    drawn, other = f"_images/{'0a' * 32}.jpg", "_images/photo.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).resize((450, 300)).save(written, "jpeg", quality=76)
    for name in (drawn, other):
        folder(name, written.getvalue())
    slim.slim(tmp_path)
    assert (tmp_path / other).read_bytes() == written.getvalue()
    assert (tmp_path / drawn).stat().st_size < 0.97 * len(written.getvalue())
    with Image.open(tmp_path / drawn) as found, Image.open(written) as before:
        assert found.info["progressive"] and found.quantization == before.quantization
        light = [np.asarray(each.convert("L"), int) for each in (found, before)]
    assert np.abs(light[0] - light[1]).mean() < 1  # of 255: rounding


def test_the_gaps_of_a_tables_source_go_and_no_other_space(folder, tmp_path):
    text = "<p>a\n <b>c</b></p><table>\n  <tr>\n    <td>1 <i>2</i></td>\n  </tr>\n</table>\n<pre>x\n <b>y</b></pre>"
    page = folder("b.html", text)
    slim.slim(tmp_path)
    shown = "<p>a\n <b>c</b></p><table><tr><td>1 <i>2</i></td></tr></table>\n<pre>x\n <b>y</b></pre>"
    assert page.read_text() == shown
