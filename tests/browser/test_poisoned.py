"""A book of runs whose every text is an attack, in headless Chromium: nothing runs, and all is read as text."""

import shlex

import pytest
import yaml
from PIL import Image

from cam_utils import claims
from tests import poisoned, tiny_book
from workflow.site import escape, explorer, export, fit_runs, run_pages

PAGES = {name: f"# {name.title()}\n\n{tiny_book.FILLED}" for name in ("explorer", "speed")} | {"batch": "# Batch\n"}
# What of an attack has become part of the page: handlers, addresses, scripts and frames, formulas.
TAKEN = """() => [...document.querySelectorAll('*')].filter(e =>
    [...e.attributes].some(a => /^(on|srcdoc|style)/.test(a.name) && a.value.includes('boom'))
    || ['href', 'src', 'action'].some(n => /^\\s*javascript:|boom\\.png/i.test(e.getAttribute(n) || ''))
    || (e.tagName === 'SCRIPT' && e.textContent.includes('boom('))
    || ['IFRAME', 'OBJECT', 'EMBED', 'BASE'].includes(e.tagName)
    || (e.tagName === 'MJX-CONTAINER' && !e.closest('.math'))
).map(e => e.outerHTML.slice(0, 200))"""
TEXTS = "all => all.map(e => e.textContent)"
READY = "() => window.MathJax?.startup?.promise?.then(() => true)"


def line(text):
    """Return a text as one line."""
    return " ".join(text.split())


def texts(page, selector):
    return [line(text) for text in page.eval_on_selector_all(selector, TEXTS)]


SHOWN = [line(escape.plain(value)) for value in poisoned.VALUES]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The site with its single page, its runs, and the sentences on the runs that are left out."""
    root = tmp_path_factory.mktemp("poisoned")
    project = tiny_book.write(root / "project", name="ss_cam", pages=PAGES)
    every = " ".join(poisoned.VALUES)
    facts = dict.fromkeys(("message", "title", "version", "date-released", "repository-code"), every)
    (project / "CITATION.cff").unlink()
    names = [{"name": value} for value in poisoned.VALUES]
    (project / "CITATION.cff").write_text(yaml.safe_dump(facts | {"authors": names}))
    poisoned.write_benchmarks(project / "data" / "results")
    for kind, value in enumerate(poisoned.VALUES):
        poisoned.write(root / "runs", value)
        poisoned.write_damaged(root / "damaged", value, kind)
    runs, _ = fit_runs.read(root / "runs", chapters=["ss_cam"])
    damaged, left_out = fit_runs.read(root / "damaged", root / "damaged" / "chapters", chapters=["ss_cam"])
    assert damaged == []
    left_out += fit_runs.read(root / "damaged", chapters=["ss_cam"])[1]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(explorer, "explore", poisoned.explored)
        patched.setattr(explorer, "picture", lambda _, file: Image.new("RGB", (8, 8)).save(file))
        site = tiny_book.site(project, root / "out", runs, left_out)
    pages = [str(path.relative_to(site).with_suffix("")) for path in sorted(site.glob("[bnr]*/*.html"))]
    export.single_page(site, pages)
    return site, runs, left_out


@pytest.fixture
def page(chromium):
    """A page that fails the test if an attack runs on it (`boom` is nowhere defined), or asks for a file."""
    opened = chromium.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(f"{opened.url}: {error}"))
    opened.on("request", lambda r: wrong.append(f"{opened.url}: asks for {r.url}") if "boom.png" in r.url else None)
    yield opened
    opened.close()
    assert wrong == []


def visit(page, address):
    """Open the page, wait for its formulas, and check that nothing of an attack has become part of it."""
    page.goto(address)
    page.evaluate(READY)
    assert page.evaluate(TAKEN) == [], address


def test_nothing_of_an_attack_is_part_of_a_page(book, page, serve):
    site, _, _ = book
    root = serve(site)
    apart = ("_static", "runs")  # pages of runs are visited below
    paths = [p for p in site.rglob("*.html") if p != site / "index.html" and not {*apart} & {*p.parts}]
    assert {"single.html", "search.html"} <= {path.name for path in paths}
    assert len(paths) > len(PAGES) + 5
    for path in paths:
        visit(page, f"{root}{path.relative_to(site)}")


def test_a_page_of_a_run_says_what_the_record_says(book, page, serve):
    site, runs, _ = book
    root = serve(site)
    assert len({run_pages.page_of(run) for run in runs}) == len(runs) == len(poisoned.VALUES)
    for run in runs:
        value = next(v for v in poisoned.VALUES if poisoned.folder_name(v) == run.id)
        text = line(escape.plain(value))
        visit(page, f"{root}{escape.url(run_pages.page_of(run))}.html")
        title = line(escape.plain(f"SS-CAM: {run_pages.short_name(run)}"))
        assert title.count(text) >= 3
        (heading,) = texts(page, "article h1")
        assert heading == f"{title}#"
        assert line(page.title()).startswith(title)
        assert texts(page, "article .admonition-title") == ["A run of the chapter"]
        facts = texts(page, "article .admonition p")[-1]
        assert facts.startswith(f"Device: {text}; 1 s of wall time; python {text}, torch {text}")
        (block,) = page.eval_on_selector_all("article .admonition pre", TEXTS)
        given = shlex.split(block.replace("\\\n", ""))[3:]
        seen = escape.visible(value)
        assert given[:2] == ["notebooks/ss_cam.ipynb", f"runs/{escape.visible(run.id)}.ipynb"]
        assert given[2:8] == ["-p", "dataset", seen, "-p", "network", seen]
        assert page.locator("article .math mjx-container").count() == 1
        assert page.locator("article .cell").count() == 1


def test_lists_of_runs_show_every_value_in_its_place(book, page, serve):
    site, runs, left_out = book
    root = serve(site)
    page.goto(f"{root}book/results.html")
    cells = [texts(page, f"div.rows tbody td:nth-child({k})") for k in (1, 2)]
    assert [len(column) for column in cells] == [2 * len(runs)] * 2
    assert set(SHOWN) <= set(cells[0]) & set(cells[1])
    above = texts(page, "article summary .value")  # data set, network and setting of each table
    assert set(SHOWN) <= set(above)
    assert sorted(texts(page, "select[name=dataset] option")) == sorted(["all", *SHOWN])
    assert set(map(line, left_out)) <= set(texts(page, "article p")) and len(left_out) > len(SHOWN)
    links = {line(name) for name in texts(page, "nav.bd-links a")}
    assert {line(escape.plain(run_pages.short_name(run))) for run in runs} <= links
    for text in SHOWN:
        page.select_option("select[name=dataset]", label=escape.plain(text))
        assert page.inner_text("form.row-filter output") == f"2 of {2 * len(runs)} rows"
        run = "row => row.closest('details').querySelector('p.about a').getAttribute('href')"
        assert page.eval_on_selector("div.rows tbody tr:not([hidden])", run).startswith("../")
    page.goto(f"{root}book/claims_ss_cam.html")
    own = [name for name, claim in claims.CLAIMS.items() if claim.chapter == "ss_cam"]
    assert texts(page, "article h2") == [f"{name}#" for name in own]
    rows = texts(page, "#s1 tbody tr")
    assert all(any(text in row for row in rows) for text in SHOWN)
    linked = set(texts(page, "#s1 tbody a"))
    assert {line(escape.plain(run_pages.short_name(run))) for run in runs} <= linked


def test_links_to_runs_lead_there(book, page, serve):
    site, runs, _ = book
    root = serve(site)
    wanted = {f"/{run_pages.page_of(run)}.html" for run in runs}
    for name in ("results", "claims_ss_cam"):
        page.goto(f"{root}book/{name}.html")
        for selector in ("article a", "nav.bd-links a"):
            found = page.eval_on_selector_all(selector, "all => all.map(a => decodeURIComponent(a.pathname))")
            assert wanted <= set(found)


def test_the_explorer_shows_names_as_they_are_and_works(book, page, serve):
    site, _, _ = book
    page.goto(f"{serve(site)}book/explorer.html")
    page.wait_for_selector("form.explorer:not([hidden])")
    assert not set("<>&\u2028") & set((site / "_static" / "explorer-data.js").read_text())
    assert texts(page, "[name=left] option") == texts(page, "[name=label] + span") == SHOWN
    assert texts(page, "[name=left-head] option") == SHOWN[:2]
    for k, text in enumerate(SHOWN):
        page.locator("[name=image]").nth(k).check(force=True)
        page.locator("[name=left]").select_option(index=k)
        said = line(page.inner_text("p.summary"))
        assert (
            said.startswith(f"Scene {text}, label {text}. {text} ({SHOWN[0]} head) is better in nothing") or k == 0
        )
        assert page.locator(".comparison td span").count() > 10


def test_the_citation_and_the_benchmarks_are_text(book, page, serve):
    site, _, _ = book
    root = serve(site)
    every = line(escape.plain(" ".join(poisoned.VALUES)))
    page.goto(f"{root}book/citation.html")
    for selector in ("article section > p", "article blockquote em"):
        assert texts(page, selector)[0] == every
    said = line(page.inner_text("blockquote"))
    assert said.startswith("; ".join(SHOWN)) and said.endswith(f"Version {every}. {every}.")
    page.goto(f"{root}book/speed.html")
    article = line(page.locator("article").text_content())
    assert article.count(every) >= 6 and all(text in article for text in SHOWN)


def test_titles_are_text_where_they_are_found_and_on_the_single_page(book, page, serve):
    site, runs, _ = book
    root = serve(site)
    for run in runs[::16]:
        page.goto(f"{root}{escape.url(run_pages.page_of(run))}.html")
        title = page.locator("article h1").text_content().removesuffix("#")
        page.goto(f"{root}search.html?q={escape.url(title)}")
        page.wait_for_selector("text=Search finished")
        assert page.evaluate(TAKEN) == [] and line(title) in texts(page, "ul.search li a")
    page.goto(f"{root}{export.NAME}")
    titles = {line(f"SS-CAM: {escape.plain(run_pages.short_name(run))}") for run in runs}
    assert titles <= set(texts(page, "nav[aria-label=Contents] a"))
