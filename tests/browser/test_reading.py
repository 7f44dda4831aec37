"""Every built page in headless Chromium, on a screen and on a phone: nothing is cut, pages are light, one finds."""

import pytest

from tests.browser.test_browser import pages as chapters_and_prose

# What is cut, in sentences. A frame that scrolls and is reached by keyboard cuts nothing; a screen needs none.
CUT = r"""mayScroll => {
    document.querySelectorAll("article details").forEach(d => { d.open = true; });
    const found = [], shown = element => element.checkVisibility();
    const say = (what, element, by) => found.push(
        `${what} in ${element.closest("figure[id], section[id]")?.id}, by ${Math.round(by)} px: `
        + element.textContent.trim().replace(/\s+/g, " ").slice(0, 50));
    const scrolls = frame => /auto|scroll/.test(getComputedStyle(frame).overflowX);
    const judge = (what, element, frame) => {
        const over = element.getBoundingClientRect().width - frame.clientWidth;
        const may = mayScroll || element.closest("details");  // what is folded is looked up, not read
        if (over > 1.5 && !(may && scrolls(frame) && frame.tabIndex >= 0)) say(what, element, over);
    };
    for (const code of document.querySelectorAll("article pre"))
        if (shown(code) && code.scrollWidth > code.clientWidth + 1)
            say("code", code, code.scrollWidth - code.clientWidth);
    for (const table of document.querySelectorAll("article table")) {
        if (!shown(table)) continue;
        let frame = table.parentElement;
        while (frame.tagName !== "ARTICLE" && !scrolls(frame)) frame = frame.parentElement;
        judge("table", table, frame);
        for (const cell of table.querySelectorAll("th, td"))
            if (getComputedStyle(cell).overflowX !== "visible" && cell.scrollWidth > cell.clientWidth + 1)
                say("cell", cell, cell.scrollWidth - cell.clientWidth);
    }
    for (const box of document.querySelectorAll("article div.math mjx-container")) {
        if (!shown(box)) continue;
        const formula = box.querySelector("mjx-math"), number = box.closest("div.math").querySelector(".eqno");
        judge("equation", formula, box);
        if (!number) continue;
        const [a, b] = [box, number].map(each => each.getBoundingClientRect());
        if (a.right > b.left + 1 && a.top < b.bottom && b.top < a.bottom)
            say("number over equation", box, a.right - b.left);
    }
    for (const frame of document.querySelectorAll("article *"))
        if (shown(frame) && /hidden|clip/.test(getComputedStyle(frame).overflowX)
            && frame.clientWidth > 20 && frame.scrollWidth > frame.clientWidth + 2
            && !frame.closest(".math, svg, form"))
            say("text", frame, frame.scrollWidth - frame.clientWidth);
    const wide = document.scrollingElement.scrollWidth - innerWidth;
    if (wide > 0) found.push(`the page is wider than the screen by ${wide} px`);
    return found;
}"""
SETTLED = """() => Promise.resolve(window.MathJax?.startup?.promise).then(
    () => new Promise(done => setTimeout(done, 150)))"""
IN_VIEW = """element => {
    const box = element.getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth && box.width > 0;
}"""
TALL = 16_000  # pixels of a page on a screen of 1300, what is folded left folded
LIGHT = 1.5e6  # bytes that the first screen of a page may need
# Chapters with much folded code and many tables, and the maps of all the explorer's scenes.
HEAVY = {"notebooks/representative_cam.html": 1.7e6, "notebooks/minmax_cam.html": 1.6e6, "book/explorer.html": 3e6}


def every_page(site):
    runs = sorted(str(p.relative_to(site)) for p in (site / "runs").glob("*.html"))
    return [*chapters_and_prose(site), *runs[:1], "search.html"]


@pytest.mark.parametrize("width", [1300, 390])
def test_nothing_is_cut(site, chromium, serve, width):
    root, wrong = serve(site), {}
    page = chromium.new_page(viewport={"width": width, "height": 900})
    for name in every_page(site):
        page.goto(root + name)
        page.wait_for_function("() => !document.querySelector('.math') || window.MathJax?.startup?.promise")
        page.evaluate(SETTLED)
        page.evaluate("() => document.querySelectorAll('article details').forEach(d => { d.open = true; })")
        page.evaluate(SETTLED)
        if found := page.evaluate(CUT, width < 500):
            wrong[name] = found
    page.close()
    assert wrong == {}


def test_the_measure_sees_what_is_cut(tmp_path, chromium, serve):
    (tmp_path / "bad.html").write_text(
        "<article><section id='a'><pre style='width: 90px'>" + "x" * 90 + "</pre>"
        "<div style='width: 90px; overflow-x: auto'><table><tr><td style='min-width: 300px'>wide</td></tr></table>"
        "</div><table style='table-layout: fixed; width: 99px'><tr>"
        "<td style='overflow: hidden; white-space: nowrap'>a long cell of many words</td></tr></table>"
        "<div class='math'><span class='eqno' style='float: right'>(1)</span><mjx-container style='display: block'>"
        "<mjx-math style='display: block; width: 2000px'>f</mjx-math></mjx-container></div>"
        "<p style='overflow: hidden; width: 50px'>incomprehensibilities</p></section></article>"
    )
    page = chromium.new_page(viewport={"width": 1300, "height": 900})
    page.goto(serve(tmp_path) + "bad.html")
    found = " ".join(page.evaluate(CUT, False))
    for what in ("code", "table", "cell", "equation", "number over equation", "text", "wider than the screen"):
        assert what in found, found
    found = page.evaluate(CUT, True)
    assert any(text.startswith("table") for text in found), "a frame that no key reaches"
    page.close()


def test_no_page_is_endless(site, chromium, serve):
    root, heights = serve(site), {}
    page = chromium.new_page(viewport={"width": 1300, "height": 900})
    for name in every_page(site):
        page.goto(root + name)
        page.wait_for_function("() => !document.querySelector('.math') || window.MathJax?.startup?.promise")
        page.evaluate(SETTLED)
        heights[name] = page.evaluate("() => document.documentElement.scrollHeight")
    page.close()
    assert {name: height for name, height in heights.items() if height > TALL} == {}


def test_a_link_to_what_is_folded_opens_it(site, chromium, serve):
    page, names = chromium.new_page(), ["cams.cam", "sscam.ss_cam"]
    shown = [f"[id='cam_utils.methods.{name}']" for name in names]
    page.goto(f"{serve(site)}book/api_methods.html#cam_utils.methods.{names[0]}", wait_until="networkidle")
    assert page.locator(shown[0]).evaluate(IN_VIEW) and not page.is_visible(shown[1])
    page.evaluate("name => { window.location.hash = `cam_utils.methods.${name}`; }", names[1])
    page.wait_for_function("selector => document.querySelector(selector).checkVisibility()", arg=shown[1])
    page.close()


def test_pages_are_light(site, chromium, serve):
    root, wrong = serve(site), {}
    for name in every_page(site):
        context = chromium.new_context(viewport={"width": 1300, "height": 900})
        page, sizes = context.new_page(), {}
        page.on("response", lambda r, sizes=sizes: sizes.update({r.url: len(r.body()) if r.ok else 0}))
        page.goto(root + name, wait_until="networkidle")
        if (total := sum(sizes.values())) > HEAVY.get(name, LIGHT):
            wrong[name] = total, sorted(((v, k) for k, v in sizes.items()), reverse=True)[:5]
        context.close()
    assert wrong == {}


@pytest.mark.parametrize("size", [(1300, 700), (390, 740)])
def test_the_search_is_in_reach_wherever_one_reads(site, chromium, serve, size):
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(serve(site) + "book/metrics.html", wait_until="networkidle")
    page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(200)
    button = page.locator(".bd-header-article button.search-button")
    assert button.evaluate(IN_VIEW)
    button.click()
    field = page.locator("#pst-search-dialog input[type=search]")
    assert field.evaluate("field => field === document.activeElement")
    field.fill("ARO")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=ARO")
    page.close()


def hits(page, root, words):
    """Return where the search leads, best first."""
    page.goto(f"{root}search.html?q={words}")
    page.wait_for_function("() => /found|did not match/i.test(document.querySelector('#search-results').innerText)")
    page.wait_for_timeout(300)
    return page.eval_on_selector_all("ul.search li > a", "all => all.map(a => a.getAttribute('href'))")


@pytest.mark.parametrize("words", ["ARO", "ADO", "IoU", "mIoU", "Grad-CAM", "MinMax-CAM", "pointing game"])
def test_the_name_of_a_metric_or_method_leads_to_its_definition(site, chromium, serve, words):
    page = chromium.new_page()
    first = hits(page, serve(site), words)[:2]
    term = words.replace(" ", "-")
    assert any(f"glossary.html#term-{term}" in link or "metrics.html" in link for link in first), first
    page.close()


def test_who_comes_from_the_search_lands_on_marked_words(site, chromium, serve):
    page = chromium.new_page(viewport={"width": 1300, "height": 800})
    root = serve(site)
    found = hits(page, root, "bootstrap")
    assert found
    plain = next(link for link in found if "#" not in link and "metrics" in link)
    page.click(f"ul.search li > a[href='{plain}']")
    page.wait_for_selector("article span.highlighted")
    page.wait_for_timeout(500)
    marks = page.locator("article span.highlighted")
    assert {text.lower() for text in marks.all_inner_texts()} == {"bootstrap"}
    assert any(mark.evaluate(IN_VIEW) for mark in marks.all())
    page.close()


def test_headings_go_down_in_size_and_never_up_in_weight(site, chromium, serve):
    page = chromium.new_page(viewport={"width": 1300, "height": 900})
    page.goto(serve(site) + "book/metrics.html")
    style = "e => [parseFloat(getComputedStyle(e).fontSize), parseInt(getComputedStyle(e).fontWeight)]"
    sizes, weights = zip(
        *(page.locator(f"article {tag}").first.evaluate(style) for tag in ("h1", "h2", "h3")), strict=True
    )
    assert list(sizes) == sorted(set(sizes), reverse=True) and list(weights) == sorted(weights, reverse=True)
    page.close()
