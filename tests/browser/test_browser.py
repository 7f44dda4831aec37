"""The built site in headless Chromium: nothing leaves the machine, every formula and picture is there."""

import pytest

MATH = """() => [
    document.querySelectorAll('.math').length,
    [...document.querySelectorAll('.math')].filter(m => m.querySelector('mjx-container')).length,
    document.querySelectorAll('mjx-merror, [data-mjx-error]').length]"""
# Also those that would be loaded when a reader comes near them.
IMAGES = """() => Promise.all([...document.images].map(i => {
    i.loading = "eager";
    return i.decode().then(() => null, () => i.src);
})).then(all => all.filter(Boolean))"""
# Lowest contrast (WCAG) between text and the ground below it, over the elements of a selector.
CONTRAST = """selector => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number);
    const light = rgb => {
        const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (; element; element = element.parentElement) {
            const colour = numbers(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    return Math.min(...[...document.querySelectorAll(selector)].map(element => {
        const pair = [numbers(getComputedStyle(element).color).slice(0, 3), ground(element)].map(light);
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }));
}"""
VISIBLE = "() => [...document.querySelectorAll('div.rows tbody tr')].filter(r => r.checkVisibility()).length"
WIDTH = "() => document.scrollingElement.scrollWidth - window.innerWidth"


def faults(browser, root, page_path, width=1200):
    """Return what is wrong with one page, as a list of sentences."""
    found = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on(
        "console", lambda m: found.append(f"console {m.type}: {m.text}") if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda e: found.append(f"exception: {e}"))
    page.on("requestfailed", lambda r: found.append(f"failed request: {r.url}"))
    page.on(
        "request",
        lambda r: None if r.url.startswith((root, "data:")) else found.append(f"left the server: {r.url}"),
    )
    page.on("response", lambda r: found.append(f"status {r.status}: {r.url}") if r.status >= 400 else None)
    page.goto(root + page_path, wait_until="networkidle")
    if page.query_selector(".math"):
        page.wait_for_function("() => window.MathJax && MathJax.startup && MathJax.startup.promise", timeout=30000)
        page.evaluate("() => MathJax.startup.promise")
    formulas, rendered, errors = page.evaluate(MATH)
    if formulas != rendered or errors:
        found.append(f"{rendered} of {formulas} formulas rendered, {errors} with errors")
    found += [f"image not loaded: {src}" for src in page.evaluate(IMAGES)]
    if page.evaluate(WIDTH) > 1:
        found.append(f"wider than {width} px by {page.evaluate(WIDTH)}")
    page.close()
    return found


def pages(site):
    return sorted(str(p.relative_to(site)) for kind in ("book", "notebooks") for p in (site / kind).glob("*.html"))


def test_every_page_is_whole_and_stays_on_the_server(site, chromium, serve):
    root = serve(site)
    found = {name: faults(chromium, root, name) for name in pages(site)}
    assert len(found) >= 7
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_the_chapter_fits_a_phone(site, chromium, serve):
    assert faults(chromium, serve(site), "notebooks/minmax_cam.html", width=390) == []


@pytest.mark.parametrize("width", [1200, 390])
def test_pages_of_runs_are_whole(site, chromium, serve, width):
    root = serve(site)
    for name in ("book/results", "book/claims", "book/claims_ss_cam", "runs/ss_cam-digits-s1"):
        assert faults(chromium, root, f"{name}.html", width) == [], name


def test_rows_are_filtered_by_keyboard_and_the_headings_of_empty_tables_go(site, chromium, serve):
    page = chromium.new_page()
    page.goto(serve(site) + "book/results.html")
    every = page.locator("div.rows tbody tr").count()
    assert page.evaluate(VISIBLE) == 0, "they are folded"
    page.focus("select[name=dataset]")
    page.keyboard.press("i")  # the first option that begins with it: imagenet
    assert page.input_value("select[name=dataset]") == "imagenet"
    rows = "div.rows tbody tr:not([hidden])"
    datasets = page.eval_on_selector_all(rows, "all => all.map(r => r.closest('div.rows').dataset.dataset)")
    assert set(datasets) == {"imagenet"} and page.evaluate(VISIBLE) == len(datasets) < every
    assert page.inner_text("form.row-filter output") == f"{len(datasets)} of {every} rows"
    page.select_option("select[name=network]", "digits")
    assert page.evaluate(VISIBLE) == 0 and not page.is_visible("#ss-cam-table-1")
    assert page.is_visible("#ours-beside-the-papers-tables"), "the section of the form itself stays"
    page.focus("form.row-filter button")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#ss-cam-table-1').checkVisibility()")
    assert page.inner_text("form.row-filter output") == f"{every} of {every} rows"
    page.close()


def test_what_a_row_is_about_stays_while_the_table_scrolls_sideways(site, chromium, serve):
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.goto(serve(site) + "book/claims_ss_cam.html")
    page.click("#s1 summary")
    frame = page.locator("div.rows[aria-label='Tests of S1']")
    scrolled, left, first, second, width = frame.evaluate("""frame => {
        const [first, second] = frame.querySelectorAll('tbody tr:first-child td');
        const before = second.getBoundingClientRect().left;
        frame.scrollLeft = 60;
        const start = frame.getBoundingClientRect().left;
        return [frame.scrollLeft, start, first.getBoundingClientRect().left,
            before - second.getBoundingClientRect().left, first.getBoundingClientRect().width];
    }""")
    assert scrolled == second == 60 and abs(first - left) <= 1 and width >= 9 * 16
    page.close()


def test_no_table_of_results_or_claims_hides_a_column(site, chromium, serve):
    root = serve(site)
    page = chromium.new_page(viewport={"width": 1300, "height": 900})
    names = ["results", "claims", "claims_minmax_cam", "claims_representative_cam", "claims_ss_cam"]
    for name in names:
        page.goto(f"{root}book/{name}.html")
        hidden, count = page.evaluate("""() => {
            document.querySelectorAll('article details').forEach((each) => (each.open = true));
            const all = [...document.querySelectorAll('article :is(div.rows, .pst-scrollable-table-container)')];
            const wide = all.filter((frame) => frame.scrollWidth > frame.clientWidth + 1);
            return [wide.map((frame) => frame.getAttribute('aria-label') || frame.textContent.trim()), all.length];
        }""")
        assert count > 1 and hidden == [], name
    page.close()


def test_a_claim_is_a_card_on_a_phone(site, chromium, serve):
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.goto(serve(site) + "book/claims.html")
    claim, badge, before, frame = page.evaluate("""() => {
        const [claim, badge] = document.querySelectorAll('table.scores tbody tr:last-child td');
        const before = getComputedStyle(badge, '::before').content;
        const [first, second] = [claim, badge].map((cell) => cell.getBoundingClientRect());
        return [first.width, second.top - first.bottom, before, claim.closest('div.rows').clientWidth];
    }""")
    assert claim >= 0.9 * frame and badge >= 0, "the sentence has the whole width, its badges stand below"
    assert before == 'attr(data-label) " "' or before.strip('" '), "a badge says which data it is about"
    page.close()


def test_tests_of_claims_are_filtered_by_verdict_and_unfolded(site, chromium, serve):
    page = chromium.new_page()
    page.goto(serve(site) + "book/claims_ss_cam.html")
    assert page.is_visible("#s1") and page.is_visible("#s6") and not page.is_visible("#s1 tbody")
    page.select_option("select[name=verdict]", "✗ fails")
    assert page.is_visible("#s1 tbody") and not page.is_visible("#s6")
    assert set(page.locator("#s1 tbody tr:not([hidden]) .diff").all_inner_texts()) == {"✗ fails"}
    page.click("form.row-filter button")
    page.wait_for_function("() => document.querySelector('#s6').checkVisibility()")
    assert not page.is_visible("#s1 tbody")
    page.close()


def test_without_scripts_every_row_is_shown_and_no_form(site, chromium, serve):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(serve(site) + "book/results.html")
    assert not page.is_visible("form.row-filter")
    page.click("article details summary >> nth=0")
    assert page.is_visible("div.rows tbody tr >> nth=0")
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_and_tables_can_be_read_in_both_themes(site, chromium, serve, theme):
    root, links = serve(site), {"results": "p.about a", "claims_ss_cam": "div.rows a"}
    for name in links:
        page = chromium.new_page()
        page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
        page.goto(f"{root}book/{name}.html", wait_until="networkidle")
        assert page.get_attribute("html", "data-theme") == theme
        for selector in (".diff", "div.rows th", "div.rows td", links[name], "form.row-filter select"):
            assert 4.5 <= page.evaluate(CONTRAST, selector) <= 21, f"{selector} of {name}"  # infinite of nothing
        page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_chapters_can_be_read_in_both_themes(site, chromium, serve, theme):
    root = serve(site)
    page = chromium.new_page()
    page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    code = ("div.highlight span", "div.admonition p")
    wanted = {
        "notebooks/ss_cam": (*code, "figcaption .caption-text", "div.cell_output th", "div.cell_output td"),
        "book/glossary": ("dl.glossary dt", "dl.glossary dd p"),
        "book/citation": ("div.highlight span", "blockquote p"),
        "book/api": (
            "dl.py dt.sig span",
            "dl.py dd p",
            "dl.py dd code",
            "dl.py dd p a.reference",
            "div.doctest span",
        ),
        "_modules/cam_utils/methods/cams": ("div.highlight span", "div.highlight a"),
    }
    for name, selectors in wanted.items():
        page.goto(f"{root}{name}.html", wait_until="networkidle")
        assert page.get_attribute("html", "data-theme") == theme
        for selector in selectors:
            assert page.locator(selector).count() and page.evaluate(CONTRAST, selector) >= 4.5, (
                f"{selector} of {name}"
            )
    page.close()


def test_the_button_switches_the_theme_and_pictures_keep_their_contrast(site, chromium, serve):
    page = chromium.new_page()
    page.goto(serve(site) + "notebooks/ss_cam.html", wait_until="networkidle")
    assert page.get_attribute("html", "data-theme") == "light"
    seen = set()
    for _ in range(3):  # light, dark, and as the system has it
        page.click(".theme-switch-button >> visible=true")
        seen.add(page.get_attribute("html", "data-mode"))
        if page.get_attribute("html", "data-theme") == "dark":
            filters = page.eval_on_selector_all("figure img", "all => all.map(i => getComputedStyle(i).filter)")
            assert filters and all("contrast" not in each for each in filters)
    assert seen == {"light", "dark", "auto"}
    page.close()


def test_on_paper_nothing_is_wider_than_the_sheet(single, chromium, serve):
    names, written = single
    page = chromium.new_page(viewport={"width": 680, "height": 960})  # A4 less 15 mm on both sides
    page.emulate_media(media="print")
    page.goto(serve(written.parent) + written.name, wait_until="networkidle")
    wide = page.eval_on_selector_all(
        "table, img, pre", "all => all.map(e => e.getBoundingClientRect().right).filter(right => right > 682)"
    )
    assert wide == []
    assert page.locator("h1:visible").count() == len(names), "the theme hides titles on paper"
    page.close()


def test_search_finds_minmax_and_not_nonsense(site, chromium, serve):
    root = serve(site)
    hits = {}
    for word in ("MinMax", "qwxzzyk"):
        page = chromium.new_page()
        page.goto(f"{root}search.html?q={word}")
        page.wait_for_function("() => /found|matching|did not match/i.test(document.body.innerText)", timeout=30000)
        page.wait_for_timeout(500)
        hits[word] = len(page.query_selector_all("ul.search li"))
        page.close()
    assert hits["MinMax"] > 0 and hits["qwxzzyk"] == 0


def test_the_checker_sees_a_broken_page(tmp_path, chromium, serve):
    (tmp_path / "bad.html").write_text(
        '<html><body><span class="math">\\(x\\)</span><img src="none.png"><script>throw Error("boom")</script>'
        '<script src="http://127.0.0.1:9/x.js"></script><div style="width:3000px">wide</div>'
        "<script>window.MathJax = {startup: {promise: Promise.resolve(true)}}</script></body></html>"
    )
    seen = " ".join(faults(chromium, serve(tmp_path), "bad.html"))
    for fault in ("none.png", "boom", "left the server", "failed request", "0 of 1 formulas", "wider than"):
        assert fault in seen
