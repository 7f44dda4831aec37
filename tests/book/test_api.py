"""The API reference: every public name of cam_utils once, with its docstring and its source, and no broken link."""

import doctest
import importlib
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import api_reference
import api_sources
import api_text
import pytest

import cam_utils
from tests import tiny_book
from tests.book.test_book import Resources
from tests.browser.test_browser import faults
from workflow import ROOT

# An assignment at the margin: its names, what it is annotated with.
ASSIGNED = re.compile(r"^([A-Za-z]\w*(?:, [A-Za-z]\w*)*)(?:: [^=\n]+)? = ", re.M)


def modules():
    """Return the modules of the package, private ones and the command line left out."""
    below = pkgutil.walk_packages(cam_utils.__path__, "cam_utils.")
    names = [found.name for found in below if not re.search(r"\._", found.name)]
    return [cam_utils, *map(importlib.import_module, names)]


def made(module):
    """Return the public functions and classes that a module defines."""
    return [
        thing
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and getattr(thing, "__module__", None) == module.__name__
        and getattr(thing, "__qualname__", None) == name  # functions with a cache are no functions to inspect
    ]


@pytest.fixture(scope="module")
def shown(site):
    """{page: its text} of the reference in the built site."""
    found = {path.name: path.read_text() for path in sorted((site / "book").glob("api*.html"))}
    assert len(found) == len(list((ROOT / "book").glob("api*.md"))) >= 8
    return found


def entries(text):
    """Return the entries of a page: (kind, id, the line's html) of functions, classes and constants."""
    pattern = r'<dl class="py (function|class|data)">\s*<dt class="sig[^"]*" id="([^"]+)">(.*?)</dt>\s*<dd>'
    return re.findall(pattern, text, re.S)


def test_every_public_name_is_documented_once(shown):
    expected = Counter()
    for module in modules():
        expected.update((each.__module__, each.__name__) for each in made(module))
        for names in ASSIGNED.findall(Path(module.__file__).read_text()):
            expected.update((module.__name__, name) for name in names.split(", "))
    found = Counter(tuple(name.rsplit(".", 1)) for text in shown.values() for _, name, _ in entries(text))
    assert found == expected and set(found.values()) == {1} and len(found) > 300


def test_every_function_and_class_has_a_docstring():
    assert [f"{m.__name__}.{t.__name__}" for m in modules() for t in made(m) if not t.__doc__] == []


def test_the_front_door_stands_first_and_under_the_package(shown):
    section = shown["api.html"].split("<h2>cam_utils<")[1].split("<h2>")[0]
    names = [name.removeprefix("cam_utils.") for kind, name, _ in entries(section) if kind != "data"]
    assert names[0] == "front.explain.explain" and len(names) >= 3
    assert {name.rpartition(".")[2] for name in names} == set(cam_utils.__all__)


def test_every_function_and_class_leads_to_its_lines(site, shown):
    targets = {}
    for page, text in shown.items():
        for kind, name, line in entries(text):
            if kind == "data":
                continue
            link = re.search(r'<a class="reference internal" href="\.\./(_modules/[^"#]+)#([^"]+)">', line)
            assert link, f"{name} on {page} has no link to its source"
            if link[1] not in targets:
                targets[link[1]] = (site / link[1]).read_text()
            assert f'id="{link[2]}"' in targets[link[1]] and link[2] == name.rpartition(".")[2]
        sections = re.findall(
            r'<p>Module <code[^>]*>.*?cam_utils.*?</code> \(<a href="\.\./(_modules/[^"]+)">', text
        )
        assert len(sections) > 2 and all((site / file).is_file() for file in sections)
    assert len(targets) > 50


def test_pages_of_sources_load_nothing_from_elsewhere_and_their_links_exist(site):
    pages, ids = sorted((site / "_modules").rglob("*.html")), {}
    assert len(pages) > 50
    for page in pages:
        parser = Resources(page)
        assert not [url for url in parser.loaded if url and re.match(r"(https?:)?//", url)], page.name
        for link in parser.links:
            file, _, name = (link or "").partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            target = (page.parent / file.partition("?")[0]).resolve() if file else page
            assert target.exists(), f"{page} links to {link}"
            if name:
                if target not in ids:
                    ids[target] = set(Resources(target).ids)
                assert name in ids[target], f"{page} links to {link}"


def test_signatures_are_short_and_no_path_of_this_machine_is_shown(shown):
    for page, text in shown.items():
        assert str(ROOT) not in text and " at 0x" not in text, page
    line = next(
        line for _, name, line in entries(shown["api_methods.html"]) if name == "cam_utils.methods.cams.cam"
    )
    plain = re.sub(r"<[^>]+>", "", line).split("[source]")[0]
    assert "pairs: Pairs" in " ".join(plain.split()) and "pairs height width" in plain and "jaxtyping" not in plain
    assert 'href="api_ground.html#cam_utils.pairs.Pairs"' in line
    explain = next(line for _, name, line in entries(shown["api.html"]) if name.endswith(".explain"))
    for link in ("#cam_utils.front.explanation.Explanation", "api_methods.html#cam_utils.methods.registry.Method"):
        assert f'href="{link}"' in explain
    assert (
        '<code class="docutils literal notranslate"><span class="pre">minmax-cam</span>'
        in shown["api_methods.html"]
    )


def test_the_names_of_a_page_are_folded_but_for_its_first_module_and_listed(shown):
    for page, text in shown.items():
        first, *folds = text.split('<details class="names">')
        assert folds and entries(first), page
        for fold in folds:
            count, listed = re.search(r"<summary>(\d+) names?: (.*?)</summary>", fold).groups()
            inside = [name.rpartition(".")[2] for _, name, _ in entries(fold.split("</details>")[0])]
            assert inside == listed.split(", ") and len(inside) == int(count), page


def test_parameters_are_lists_and_examples_are_code(shown):
    text = shown["api.html"].split('id="cam_utils.front.explain.explain"')[1].split('<dl class="py')[0]
    parameters = inspect.signature(cam_utils.explain).parameters
    told = re.findall(r"<li><p><code[^>]*><span class=\"pre\">(\w+)</span></code>", text)
    assert len(told) >= 4 and set(told) <= set(parameters)
    assert 'class="doctest highlight-default notranslate"' in text and "[]_" not in text


def test_a_reference_means_what_its_module_imports_and_one_to_nothing_fails_the_build(tmp_path):
    role = "\n```{eval-rst}\n.. py:currentmodule:: cam_utils.data\n\nSee :func:`%s`.\n```\n"
    page = "\n% modules: cam_utils.names\n"
    project = tiny_book.write(tmp_path / "good", further=page + role % "check_known")
    text = (tiny_book.site(project, tmp_path / "out") / "book" / "intro.html").read_text()
    assert 'href="#cam_utils.names.check_known"' in text and len(entries(text)) >= 3
    project = tiny_book.write(tmp_path / "bad", further=page + role % "check_nothing")
    with pytest.raises(RuntimeError, match="reference target not found: check_nothing"):
        tiny_book.site(project, tmp_path / "out")


def test_a_page_names_modules_that_exist_once():
    assert api_reference.modules_of("cam_utils.names cam_utils.names") == ["cam_utils.names"]
    with pytest.raises(ValueError, match=r"expected a module of cam_utils .*, got 'cam_utils\.nothing\.\*'"):
        api_reference.modules_of("cam_utils.nothing.*")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/a/b", "https://github.com/a/b/blob/main/cam_utils/names.py"),
        ("https://gitlab.com/a/b", "https://gitlab.com/a/b/-/blob/main/cam_utils/names.py"),
        ("", None),
    ],
)
def test_the_repository_is_linked_where_the_book_has_one(tmp_path, url, expected):
    (tmp_path / "_config.yml").write_text(f'repository: {{url: "{url}", branch: main}}\n')
    text = api_reference.section("cam_utils.names", api_reference.repository(tmp_path))
    assert re.findall(r'href="(http[^"]+)"', text) == ([expected] if expected else [])


def test_docstrings_are_plain_text():
    shown = api_text.plain('f(*a, **b): |x|, a_ and "big", `n`s of *other* labels.\n\n    x = [1]_\n\n>>> a_ * 2')
    assert shown.split("\n\n") == [
        'f(\\*a, \\*\\*b): \\|x\\|, a\\_ and ``"big"``, ``n``\\ s of *other* labels.',
        "::",
        "    x = [1]_",
        ">>> a_ * 2\n",
    ]


@pytest.mark.parametrize("module", [api_reference, api_sources, api_text], ids=lambda module: module.__name__)
def test_the_examples_of_the_extension_are_right(module):
    failed, tried = doctest.testmod(module)
    assert tried and not failed


@pytest.mark.parametrize("width", [1200, 390])
def test_the_reference_fits_a_screen_and_a_phone(site, chromium, serve, width):
    root = serve(site)
    pages = [f"book/{path.stem}.html" for path in sorted((ROOT / "book").glob("api*.md"))]
    for page in [
        *pages[:: 1 if width == 390 else 8],
        "_modules/cam_utils/methods/sscam.html",
        "_modules/index.html",
    ]:
        assert faults(chromium, root, page, width) == [], page


def test_of_an_example_only_what_is_typed_is_copied(site, chromium, serve):
    page = chromium.new_page()
    page.goto(serve(site) + "book/api.html", wait_until="networkidle")
    page.evaluate("document.addEventListener('copy', () => { window.copied = document.activeElement.value; })")
    page.locator("div.doctest button.copybtn").first.click(force=True)
    text = page.evaluate("window.copied")
    assert "explain" in text and ">>>" not in text
    page.close()
