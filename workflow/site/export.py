"""Write the built site's chapters as one page, _build/html/single.html, and print it as _build/book.pdf.

    python -m workflow.site.export [--html-only]

Sphinx's own single-page builder is not used: where chapters share names of sections, its links lead to the first.
Pages of runs stay outside, and what needs a script shows what it shows without.
"""

import argparse
import copy
import posixpath
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from markupsafe import Markup

from workflow import ROOT
from workflow.site.contents import pages_of

NAME = "single.html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHELL = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>{head}</head>
<body>
<div class="bd-container"><div class="bd-container__inner bd-page-width"><main class="bd-main">
<div class="bd-content">
<div class="bd-article-container"><article class="bd-article">
<nav aria-label="Contents"><ul>
{contents}
</ul></nav>
{articles}
</article></div>
</div>
</main></div></div>
</body>
</html>
"""


def single_page(site: Path, names: Iterable[str]) -> Path:
    """Write the pages `names` of the built `site` one after the other as its page NAME, and return its path.

    Ids are prefixed by their page's name, so that links between these pages stay inside the one page. Raises
    FileNotFoundError for a page that is not built, ValueError for one without an article.
    """
    names = list(names)
    articles, contents, head = [], [], None
    for name in names:
        path = site / f"{name}.html"
        if not path.is_file():
            raise FileNotFoundError(f"expected the built page {path}; make book builds it")
        page = BeautifulSoup(path.read_text(), "html.parser")
        article = page.find("article", "bd-article")
        if article is None:
            raise ValueError(f"expected an article in {path}")
        head = _head(page.head, name) if head is None else head
        contents.append(Markup('<li><a href="#{}">{}</a></li>').format(anchor(name), _title(article) or name))
        _adapt(article, name, names)
        inner = Markup(article.decode_contents())
        articles.append(Markup('<div class="single-page" id="{}">{}</div>').format(anchor(name), inner))
    out = site / NAME
    out.write_text(SHELL.format(head=head, contents="\n".join(contents), articles="\n".join(articles)))
    return out


def _head(head: Tag, name: str) -> str:
    """Return the head of the page `name` for the single page: of its scripts only MathJax and its settings.

    The others need the theme's bars.
    """
    for script in head("script"):
        if "mathjax" not in str(script).lower():
            script.decompose()
    _move(head, name, [])
    return head.decode_contents()


def _title(article: Tag) -> Markup:
    """Return the article's title, without the link to itself."""
    if article.h1 is None:
        return Markup()
    title = copy.copy(article.h1)
    for link in title("a", "headerlink"):
        link.decompose()
    return Markup(title.decode_contents())  # str() of a part would undo its escapes


def _adapt(article: Tag, name: str, names: list[str]) -> None:
    """Make the article of the page `name` fit for the single page; it shows what it shows without scripts."""
    for tag in [*article("script"), *article("form", hidden=True)]:
        tag.decompose()
    for tag in article("noscript"):
        tag.unwrap()
    for tag in article("img", loading="lazy"):
        del tag["loading"]  # what is printed is all there
    for tag in article(id=True):
        tag["id"] = anchor(name, tag["id"])
    _move(article, name, names)


def _move(part: Tag, name: str, names: list[str]) -> None:
    """Let the links of a part of the page `name` lead where they must in the single page."""
    for attribute in ("href", "src"):
        for tag in part.find_all(attrs={attribute: True}):
            tag[attribute] = moved(tag[attribute], name, names)


def anchor(page: str, name: str = "") -> str:
    """Return the id in the single page of a page, or of the id `name` in it.

    >>> anchor("book/metrics"), anchor("book/metrics", "eq-mask")
    ('book-metrics', 'book-metrics--eq-mask')
    """
    return page.replace("/", "-") + (f"--{name}" if name else "")


def moved(target: str, page: str, names: Iterable[str]) -> str:
    """Return where a link of `page` must point in the single page, which lies at the site's top.

    >>> [moved(t, "book/a", ["book/a", "book/b"]) for t in ("#x", "b.html#y", "../z.jpg", "c.html")]
    ['#book-a--x', '#book-b--y', 'z.jpg', 'book/c.html']
    """
    if re.match(r"[a-z]+:|//", target):
        return target
    file, _, name = target.partition("#")
    if file == "":
        return f"#{anchor(page, name)}"
    file = posixpath.normpath(posixpath.join(posixpath.dirname(page), file))
    if file.removesuffix(".html") in names:
        return f"#{anchor(file.removesuffix('.html'), name)}"
    return f"{file}#{name}" if name else file


def print_pdf(page: Path, out: Path) -> Path:
    """Print `page` with Chromium as `out`, A4, with bookmarks, and return `out`.

    Raises FileNotFoundError without Chromium, RuntimeError if a formula or a picture is missing on the page.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"printing needs Chromium: expected one of {', '.join(BROWSERS)} on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        sheet = chromium.new_page()
        sheet.goto(page.resolve().as_uri(), wait_until="load")
        sheet.wait_for_function("() => window.MathJax?.startup?.promise")
        sheet.evaluate("() => MathJax.startup.promise.then(() => true)")
        faults = sheet.evaluate(
            "() => [[...document.images].filter(i => !i.naturalWidth).length,"
            " [...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length]"
        )
        if any(faults):
            raise RuntimeError(f"{faults[0]} pictures and {faults[1]} formulas of {page} are missing")
        # Other files of this machine are no targets for a reader of the PDF.
        sheet.evaluate(
            "() => document.querySelectorAll('a[href]').forEach(a => {"
            " if (!/^(#|https?:)/.test(a.getAttribute('href'))) a.removeAttribute('href'); })"
        )
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
        sheet.pdf(path=out, format="A4", margin=margin, print_background=True, tagged=True, outline=True)
        chromium.close()
    return out


def main(arguments: list[str] | None = None) -> None:
    """Write the page, and the PDF unless --html-only; exits with one line if that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow.site.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--html-only", action="store_true", help="no PDF: needs no Chromium")
    given = parser.parse_args(arguments)
    try:
        page = single_page(ROOT / "_build" / "html", pages_of(yaml.safe_load((ROOT / "_toc.yml").read_text())))
        print(page)
        if not given.html_only:
            print(print_pdf(page, ROOT / "_build" / "book.pdf"))
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        sys.exit(f"export: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
