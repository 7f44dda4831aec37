"""A site is made smaller by what its pages do not use, and by nothing else."""

import html.parser
import re
from copy import deepcopy

import nbformat
import pytest

from workflow import ROOT
from workflow.site import build, slim

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
    write("_images/a.png", b"a figure")
    return write


def left(site):
    return {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}


def test_copies_of_figures_go_unless_something_names_them(folder, tmp_path):
    for name in ("a.png", "copy.png", "named.png", "styled.png"):
        folder(f"_static/{name}", b"a figure")
    folder("_static/other.png", b"another figure")
    folder("_static/a.css", "p{background:url(styled.png)}")
    folder("book/b.html", '<img src="../_static/named.png"/>')
    slim.slim(tmp_path)
    assert left(tmp_path / "_static") == {"named.png", "styled.png", "other.png", "a.css"}
    assert left(tmp_path / "_images") == {"a.png"}


def test_a_font_goes_only_where_browsers_have_it_in_the_better_format(folder, tmp_path):
    for name in ("both.woff2", "both.ttf", "alone.ttf"):
        folder(f"_static/vendor/fontawesome/webfonts/{name}", b"a font")
    style = folder("_static/styles/a.css", FONT % ("both", TRUETYPE % "both") + "b{color:red}")
    slim.slim(tmp_path)
    assert left(tmp_path / "_static/vendor/fontawesome/webfonts") == {"both.woff2", "alone.ttf"}
    assert style.read_text() == FONT % ("both", "") + "b{color:red}"


def test_icons_stay_that_a_page_or_a_script_names(folder, tmp_path):
    drawn = 'p={sun:[1,1,[9728],"f185","M1"],"circle-xmark":[1,1,[61532,"times-circle"],"f057",["M2","M3"]],'
    rest = 'moon:[1,1,[],"f186","M4"],0:[1,1,[],"30","M5"],"arrow-up":[1,1,[8593],"f062","M6"]},z=[1,2,[3],"x"]'
    script = folder("_static/scripts/fontawesome.js", drawn + rest)
    folder("_static/scripts/theme.js", "e.innerHTML='<i class=\"fas fa-times-circle\"></i>'")
    folder("_static/styles/all.css", ".fa-moon:before{}")  # a style sheet of the theme names every icon there is
    slim.slim(tmp_path)
    assert script.read_text() == drawn + '},z=[1,2,[3],"x"]'


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


def test_the_site_has_the_drawing_of_every_icon_and_few_others(site):
    script = (site / "_static" / "scripts" / "fontawesome.js").read_text()
    wanted = set().union(*(Icons(page).names for page in site.rglob("*.html")))
    assert {"magnifying-glass", "download", "moon", "expand"} <= wanted
    for name in wanted:
        assert re.search(rf'"?{name}"?[:\],]', script), name
    assert len(script) < 200_000
    assert not list(site.rglob("*.ttf")) and not list(site.rglob("*.po"))


def test_every_file_that_a_style_sheet_names_exists(site):
    named = 0
    for style in (site / "_static").rglob("*.css"):
        for url in re.findall(r"url\([\"']?([^)\"'#?]+)", style.read_text()):
            if not re.match(r"data:|[a-z]+://", url):
                named += 1
                assert (style.parent / url).is_file(), f"{style.name} names {url}"
    assert named >= 3


def test_every_icon_is_drawn_in_a_browser(site, chromium, serve):
    root = serve(site)
    for name in ("book/intro", "notebooks/minmax_cam", "search", "_modules/cam_utils/pairs"):
        wanted = Icons(site / f"{name}.html").names
        page = chromium.new_page(viewport={"width": 1300, "height": 900})
        page.goto(f"{root}{name}.html", wait_until="networkidle")
        drawn = page.eval_on_selector_all(
            "svg[data-icon] path[d]",
            "all => all.filter(p => p.getAttribute('d')).map(p => p.parentNode.dataset.icon)",
        )
        assert len(wanted) > 4 and wanted <= set(drawn), name
        assert page.locator("i[class*='fa-']").count() == 0, name
        page.close()
