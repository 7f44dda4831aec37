"""The explorer's page in headless Chromium, as a reader uses it: by mouse, by keyboard, on a phone, from a link."""

from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image

from cam_utils import plots
from tests.browser.test_browser import CONTRAST, WIDTH, faults
from workflow.site import explorer, explorer_page, explorer_photographs

PAGE = "book/explorer.html"
LEFT, RIGHT = "canvas[data-side=left]", "canvas[data-side=right]"
METRICS = {column: metric for group in explorer_page.METRICS.values() for column, metric in group.items()}
PIXELS = """selector => {
    const canvas = document.querySelector(selector);
    return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
}"""


@pytest.fixture(scope="module")
def found():
    return explorer.explore()


@pytest.fixture
def page(site, chromium):
    """The explorer on a scene, opened from the disk as by a reader who has only the folder; no script may fail."""
    opened = chromium.new_page(viewport={"width": 1200, "height": 900})
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.goto(f"{(site / PAGE).as_uri()}#image=val-00036")
    shown(opened)
    yield opened
    opened.close()
    assert wrong == []


def shown(page, *words):
    """Wait until both pictures show what the form says, and return their texts; they contain `words`."""
    page.wait_for_function(
        """words => ['left', 'right'].every(side => {
            const text = document.querySelector(`canvas[data-side=${side}]`).getAttribute('aria-label') || '';
            const field = document.querySelector(`select[name=${side}]`);
            const chosen = [...document.querySelectorAll('form.explorer :is([name=image], [name=label]):checked')];
            return [...chosen.map(each => each.value), field.selectedOptions[0].text, ...words]
                .every(word => text.includes(word));
        })""",
        arg=list(words),
    )
    return [page.get_attribute(selector, "aria-label") for selector in (LEFT, RIGHT)]


def pixels(page, selector, height=96, width=96):
    return np.array(page.evaluate(PIXELS, selector)).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize("width", [1200, 360])
def test_the_page_is_whole_from_a_server_and_from_the_disk(site, chromium, serve, width):
    for root in (serve(site), f"{site.as_uri()}/"):
        assert faults(chromium, root, PAGE, width) == []


def test_it_opens_on_the_photograph_of_the_first_page(site, chromium):
    opened = chromium.new_page(viewport={"width": 1300, "height": 900})
    opened.goto((site / PAGE).as_uri())
    alts = shown_photograph(opened, "Photograph 599, label remote control")
    assert [alt.split(", ")[2].split(" (")[0] for alt in alts] == ["CAM", "MinMax-CAM"]
    opened.goto((site / "book" / "intro.html").as_uri())
    opened.click("text=Compare other methods and labels on this photograph")
    assert shown_photograph(opened, "Photograph 599, label remote control") == alts
    top = opened.locator(LEFT).bounding_box()["y"]
    assert 0 <= top < 450, "who follows a link sees the maps at once"
    opened.close()


def test_a_pair_of_methods_and_their_numbers(page, found):
    page.check("[name=image][value=val-00100]", force=True)
    offered = page.eval_on_selector_all("[name=label]", "all => all.filter(r => !r.disabled).map(r => r.value)")
    assert offered == ["0", "1", "5", "9"]
    page.check("[name=label][value='5']", force=True)
    page.select_option("[name=left]", "score-cam")
    page.select_option("[name=right]", "d-minmax-cam")
    page.select_option("[name=right-head]", "kernel-usage")
    alts = shown(page, "val-00100", "label 5")
    assert alts == [
        "Scene val-00100, label 5, Score-CAM (linear head): map over the image",
        "Scene val-00100, label 5, D-MinMax-CAM (kernel-usage head): map over the image",
    ]
    rows = found.table.set_index(["image", "class", "method", "head"])
    left, right = (
        rows.loc[("val-00100", "5", *key)] for key in (("score-cam", "linear"), ("d-minmax-cam", "kernel-usage"))
    )
    lines = page.locator(".comparison tr[data-column]")
    assert lines.count() == len(METRICS)
    marked = 0
    for i, (column, metric) in enumerate(METRICS.items()):
        cells = lines.nth(i).locator("td").all_inner_texts()
        texts = [explorer_page.text(float(side[column]), column) for side in (left, right)]
        assert [cell.split()[0] for cell in cells] == texts, metric.title
        better = ["✓" in cell for cell in cells]
        gain = metric.wanted * (right[column] - left[column])
        expected = [False, False] if not gain or texts[0] == texts[1] else [gain < 0, gain > 0]
        assert better == expected, metric.title
        marked += any(better)
    assert marked > 5
    summary = page.inner_text("p.summary[aria-live=polite]")
    assert "Scene val-00100, label 5." in summary and "D-MinMax-CAM (kernel-usage head) is better in" in summary


def test_the_pictures_are_photograph_and_map(page, found):
    """Pixel by pixel: opacity 0 is the photograph, 100 the colours of the map; kept and cut out hide the rest."""
    photo = 255 * found.batch.images[0].permute(1, 2, 0).numpy()
    mask = found.masks["linear"][0, found.methods.index("minmax-cam")].numpy()[..., None]
    blank = 255 * found.blanks["linear"].numpy()
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in plots.map_colours()])
    level = (255 * mask[..., 0]).round().astype(int)
    expected = {0: photo, 100: colours[level], 50: (photo + colours[level]) / 2}
    for opacity, picture in expected.items():
        page.fill("[name=opacity]", str(opacity))
        shown(page)
        page.wait_for_timeout(100)
        assert np.abs(pixels(page, RIGHT) - picture).max() < 2.1, opacity
    assert np.abs(pixels(page, LEFT) - pixels(page, RIGHT)).max() > 20
    for view, words, share in (("kept", "map kept", mask), ("cut", "map cut out", 1 - mask)):
        page.check(f"[name=view][value={view}]", force=True)
        shown(page, words)
        assert np.abs(pixels(page, RIGHT) - (blank + (photo - blank) * share)).max() < 2.1, view
    assert page.is_disabled("[name=opacity]") and not page.is_visible(".scale")


def test_a_photograph_is_loaded_when_it_is_chosen(page, found):
    """Label, methods and numbers of a photograph; its picture at opacity 0, its map at 100; whose it is."""
    shot = next(each for each in found.photographs if each.name == "imagenet-000000000599")
    assert not page.evaluate("() => 'pictures' in window.CAM_EXPLORER.scenes['imagenet-000000000599']")
    page.check("[name=image][value=imagenet-000000000599]", force=True)
    offered = page.eval_on_selector_all("[name=label]", "all => all.filter(r => !r.disabled).map(r => r.value)")
    assert set(offered) == {"tabby", "remote control"}
    methods = page.eval_on_selector_all(
        "[name=left] option", "all => all.filter(o => !o.disabled).map(o => o.value)"
    )
    assert set(methods) == set(shot.methods)
    page.check("[name=label][value='remote control']", force=True)
    page.select_option("[name=right]", "score-cam")
    alts = shown_photograph(page, "remote control")
    assert alts[1] == "Photograph 599, label remote control, Score-CAM (ImageNet head): map over the image"
    rows = shot.table.set_index(["class", "method"])
    for i, column in enumerate(METRICS):
        cells = page.locator(".comparison tr[data-column]").nth(i).locator("td").all_inner_texts()
        values = [rows.loc[("remote control", method), column] for method in ("cam", "score-cam")]
        assert [cell.split()[0] for cell in cells] == [explorer_page.text(float(v), column) for v in values]
    width, height = (2 * side for side in shot.size)
    page.fill("[name=opacity]", "0")
    page.wait_for_timeout(300)
    photo = np.asarray(explorer_photographs.shown(shot)).astype(float)
    assert np.abs(pixels(page, LEFT, height, width) - photo).mean() < 8  # a lossy WebP
    page.fill("[name=opacity]", "100")
    page.wait_for_timeout(300)
    with Image.open(shot.tiles) as picture:
        tiles = np.asarray(picture.convert("L"))
    row, column = shot.labels.index("remote control"), shot.methods.index("score-cam")
    tile = tiles[row * height // 2 :, column * width // 2 :][: height // 2, : width // 2]
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in plots.map_colours()])
    assert np.array_equal(pixels(page, RIGHT, height, width), colours[tile].repeat(2, 0).repeat(2, 1))
    credit = page.inner_text(".credit:visible")
    assert "Photograph 599: COCO 2017, train2017, id 599, CC BY 2.0" in credit
    assert page.get_attribute(".picture path", "d").startswith("M")
    page.check("[name=image][value=val-00036]", force=True)
    shown(page, "val-00036")
    assert page.input_value("[name=left-head]") == "linear" and not page.is_visible(".credit")


def test_a_link_names_a_photograph_and_a_label(page, site):
    page.goto(f"{(site / PAGE).as_uri()}#photo=599&label=cat&left=d-minmax-cam&right=area-matched-cam")
    alts = shown_photograph(page, "label cat")
    assert alts == [f"Photograph 599, label cat, {name} (VOC head): map over the image"
                    for name in ("D-MinMax-CAM", "area-matched CAM")]  # fmt: skip
    page.dispatch_event("[name=opacity]", "change")
    held = parse_qs(page.url.split("#")[1])
    assert held["photo"] == ["599"] and held["label"] == ["cat"] and "image" not in held
    page.evaluate("() => { location.hash = 'photo=89' }")
    assert "Photograph 89, label microwave" in shown_photograph(page, "Photograph 89")[0]
    page.evaluate("() => { location.hash = 'photo=1' }")
    page.wait_for_function("() => document.querySelector('.summary').textContent.includes('unknown image')")


def shown_photograph(page, *words):
    """Wait until both pictures are of what `words` say, and return their texts."""
    page.wait_for_function(
        """words => document.querySelector('form.explorer canvas')
            && [...document.querySelectorAll('form.explorer canvas')].every(
            each => words.every(word => (each.getAttribute('aria-label') || '').includes(word)))""",
        arg=list(words),
    )
    return [page.get_attribute(selector, "aria-label") for selector in (LEFT, RIGHT)]


def test_the_outline_is_an_option(page):
    stored = page.evaluate("() => window.CAM_EXPLORER.scenes['val-00036'].outlines[0]")
    assert page.get_attribute(".picture path", "d") == stored
    page.uncheck("[name=outline]")
    assert page.get_attribute(".picture path", "d") == ""


def test_everything_is_reached_and_changed_by_keyboard(page):
    page.focus("[name=image]:checked")
    page.keyboard.press("ArrowRight")
    assert "val-00077" in shown(page, "label 1")[0]
    ring = "() => getComputedStyle(document.activeElement.nextElementSibling).outline"
    assert "solid 3px" in page.evaluate(ring)
    # What tab reaches one after the other, and the key that changes it.
    keys = {
        "label": "ArrowRight",
        "left": "s",
        "left-head": "k",
        "right": "ArrowDown",
        "right-head": "",
        "swap": "Enter",
    }
    keys |= {"view": "", "opacity": "ArrowLeft", "outline": "Space"}
    for name, key in keys.items():
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.name || document.activeElement.className") == name
        if key:
            page.keyboard.press(key)
    alts = shown(page, "label 7")
    assert "D-MinMax-CAM (linear head)" in alts[0] and "Score-CAM (kernel-usage head)" in alts[1]
    assert page.inner_text(".slider output") == "55%" and page.get_attribute(".picture path", "d") == ""
    page.focus("[name=view]:checked")
    page.keyboard.press("ArrowRight")
    shown(page, "map kept")
    assert parse_qs(page.url.split("#")[1])["view"] == ["kept"]


def test_a_link_restores_the_view(page, site, chromium):
    page.check("[name=image][value=val-00076]", force=True)
    page.check("[name=label][value='8']", force=True)
    page.select_option("[name=left]", "grad-cam++")
    page.fill("[name=opacity]", "35")
    page.dispatch_event("[name=opacity]", "change")
    page.uncheck("[name=outline]")
    page.click(".swap")
    alts, numbers = shown(page, "label 8"), page.inner_text(".comparison")
    link = page.url
    held = parse_qs(link.split("#")[1])
    assert held["right"] == ["grad-cam++"] and held["opacity"] == ["35"] and held["outline"] == ["off"]
    other = chromium.new_page()
    other.goto(link)
    assert shown(other, "label 8") == alts and other.inner_text(".comparison") == numbers
    assert other.input_value("[name=opacity]") == "35" and not other.is_checked("[name=outline]")
    assert np.array_equal(pixels(other, LEFT), pixels(page, LEFT))
    other.evaluate("() => { location.hash = 'image=val-00121&label=6&left=ham&opacity=loud' }")
    shown(other, "val-00121", "label 6")
    said = other.inner_text(".summary")
    assert said.startswith("The link asks for an unknown left, opacity, which is left as it was.")
    assert other.input_value("[name=left]") == "minmax-cam" and other.input_value("[name=opacity]") == "35"
    other.close()


@pytest.mark.parametrize("width", [1200, 360])
def test_it_can_be_read_in_both_themes_and_fits(site, chromium, serve, width):
    grounds = []
    for theme in ("light", "dark"):
        page = chromium.new_page(viewport={"width": width, "height": 740})
        page.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
        page.goto(f"{serve(site)}{PAGE}#image=val-00036", wait_until="networkidle")
        shown(page)
        assert page.get_attribute("html", "data-theme") == theme
        page.click("summary:text('All numbers')")
        texts = (
            "legend",
            "label span:not(:empty)",
            "select",
            "button",
            "th",
            "td",
            "td span",
            "th a",
            ".words",
            "p",
        )
        for selector in texts:
            assert page.evaluate(CONTRAST, f"form.explorer {selector}") >= 4.5, f"{selector}, {theme}"
        assert page.evaluate(WIDTH) <= 0
        left, right = (page.locator(selector).bounding_box() for selector in (LEFT, RIGHT))
        assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"] and left["width"] > 130
        grounds.append(page.evaluate("() => getComputedStyle(document.querySelector('.swap')).backgroundColor"))
        page.close()
    assert grounds[0] != grounds[1]


def test_without_scripts_the_table_holds_the_numbers(site, chromium, found):
    page = chromium.new_page(java_script_enabled=False)
    page.goto((site / PAGE).as_uri())
    assert not page.is_visible("form.explorer") and page.is_visible("text=The explorer needs JavaScript")
    assert page.is_visible("img[src$='explorer.jpg']")
    page.click("summary:text('All numbers')")
    photographs = sum(len(each.table) for each in found.photographs)
    assert photographs and page.locator(".explorer-numbers tbody tr").count() == len(found.table) + photographs
    page.close()
