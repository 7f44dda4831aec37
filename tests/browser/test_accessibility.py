"""axe, the engine of browsers' own checks of accessibility, on a page of each kind, light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.test_reading import SETTLED

PAGES = (
    "book/intro",
    "notebooks/ss_cam",
    "book/claims",
    "book/claims_ss_cam",
    "book/results",
    "book/metrics",
    "book/deviations_minmax_cam",
    "book/api_methods",
    "book/explorer",
)
GRAVE = ("serious", "critical")
UNFOLD = "() => document.querySelectorAll('article details').forEach((each) => (each.open = true))"
# Of the explorer's 600 rows of numbers, which are alike, axe sees a few: with all of them it takes minutes.
SHORTEN = (
    "() => document.querySelectorAll('.explorer-numbers tr:nth-child(n + 13)').forEach((each) => each.remove())"
)


def faults(page):
    """Return the grave faults of the page that is open, {rule: where}; what is folded is unfolded first."""
    page.wait_for_function("() => !document.querySelector('.math') || window.MathJax?.startup?.promise")
    page.evaluate(SHORTEN)
    page.evaluate(UNFOLD)
    page.evaluate(SETTLED)
    found = Axe().run(page).response["violations"]
    return {
        f"{rule['id']}: {rule['help']}": [(each["target"], each["html"][:160]) for each in rule["nodes"][:8]]
        for rule in found
        if rule["impact"] in GRAVE
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_nobody_out(site, chromium, serve, name, theme):
    page = chromium.new_page(viewport={"width": 1300, "height": 900})
    page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    page.goto(f"{serve(site)}{name}.html")
    assert page.get_attribute("html", "data-theme") == theme
    assert faults(page) == {}
    page.close()


def test_the_checker_sees_grave_faults(tmp_path, chromium, serve):
    (tmp_path / "bad.html").write_text(
        "<html><body><article><details><summary>more</summary><p style='color: #bbb; background: #fff'>pale</p>"
        "</details><img src='data:,'><select><option>a</option></select></article></body></html>"
    )
    page = chromium.new_page()
    page.goto(serve(tmp_path) + "bad.html")
    rules = {text.partition(":")[0] for text in faults(page)}
    assert rules >= {"color-contrast", "html-has-lang", "image-alt", "select-name"}
    page.close()
