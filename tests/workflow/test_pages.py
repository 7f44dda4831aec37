"""What finished runs add to the book: their pages, the table of contents, results beside the papers', verdicts."""

import html
import re

import nbformat
import pandas as pd
import pytest
import yaml

from cam_utils import claims
from cam_utils.runs import Run, read_runs
from tests import fake_runs
from tests.conftest import ROOT
from workflow.site import pages, results_page, run_pages
from workflow.site.claims_page import claims_part

CHAPTERS = ("minmax_cam", "representative_cam", "ss_cam", "comparison", "sanity_checks", "your_model")


def notebook(*cells):
    shown = [nbformat.v4.new_output("stream", text="a table")]  # a figure that a run did not make loses its name
    made = [
        nbformat.v4.new_code_cell(text[3:], metadata={"mystnb": {"figure": {"name": "fig-a"}}}, outputs=shown)
        if text.startswith(">>>")
        else nbformat.v4.new_markdown_cell(text)
        for text in cells
    ]
    return nbformat.v4.new_notebook(cells=made)


def run_of(folder, chapter="ss_cam", name="ss_cam-digits-s1", cells=("# A title: and more",), **parameters):
    (folder / name).mkdir()
    nbformat.write(notebook(*cells), folder / name / "notebook.ipynb")
    record = {"chapter": chapter, "parameters": {"dataset": "digits", "seed": 1} | parameters}
    return Run(folder / name, record)


def texts(page):
    return "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_label_of_a_run_page_is_one_of_the_chapters(chapter, tmp_path):
    stored = nbformat.read(ROOT / "notebooks" / f"{chapter}.ipynb", 4)
    (tmp_path / "x-s1").mkdir()
    nbformat.write(stored, tmp_path / "x-s1" / "notebook.ipynb")
    page = run_pages.run_page(Run(tmp_path / "x-s1", {"chapter": chapter, "parameters": {"dataset": "digits"}}))

    def labels(book):
        figures = {c.metadata.get("mystnb", {}).get("figure", {}).get("name") for c in book.cells}
        equations = re.findall(r"(?m)\$\$[ \t]*\(([^)\s]+)\)[ \t]*$", texts(book))
        return (figures - {None}) | set(re.findall(r"(?m)^\((.+)\)=$", texts(book))) | set(equations)

    assert len(labels(page)) == len(labels(stored)) - 1, "all but that of the findings"
    assert not labels(page) & labels(stored)
    used = set(re.findall(r"\{(?:numref|ref|eq)\}`(?:[^`<]*<)?([^`<>]+)>?`", texts(page)))
    prose = "".join(path.read_text() for path in (ROOT / "book").glob("*.md"))
    elsewhere = {name for pair in re.findall(r"\{#([\w-]+)\}|(?m:^\((.+)\)=$)", prose) for name in pair}
    assert used <= labels(page) | labels(stored) | elsewhere and used & labels(page)
    assert not re.search(rf"(?m)^#+ {run_pages.FINDINGS}", texts(page))
    of_default = [c for c in stored.cells if run_pages.OF_DEFAULT in c.metadata.get("tags", [])]
    for cell in of_default:
        plain = re.findall(r"[\w ,.']{30,}", cell.source)  # what no renamed label stands in
        assert plain and not [words for words in plain if words in texts(page)], "it speaks of the default run"
    assert "run's record" in texts(page)


def test_labels_equations_and_links_are_renamed_only_where_they_are_the_pages_own(tmp_path):
    cells = (
        "(sec-a)=\n# A title\nSee {ref}`sec-a`, {ref}`there <sec-a>`, {ref}`sec-of-others`, [here](#sec-a).",
        "$$ x $$ (eq-a)\n\nand {eq}`eq-a`, {numref}`Fig. %s <fig-a>`, {doc}`minmax_cam`.",
        "{doc}`that <../book/metrics>` ![picture](../assets/logo.svg) [label](sec-b) [page](https://example.org/a)",
        ">>>1 + 1",
    )
    page = run_pages.run_page(run_of(tmp_path, cells=cells))
    own, text = "--ss_cam-digits-s1", texts(page)
    for expected in (
        f"(sec-a{own})=",
        f"{{ref}}`sec-a{own}`",
        f"{{ref}}`there <sec-a{own}>`",
        "{ref}`sec-of-others`",
        f"[here](#sec-a{own})",
        f"$$ x $$ (eq-a{own})",
        f"{{eq}}`eq-a{own}`",
        f"{{numref}}`Fig. %s <fig-a{own}>`",
        "{doc}`../notebooks/minmax_cam`",
        "{doc}`that <../book/metrics>`",
        "](../assets/logo.svg)",
        "[label](sec-b)",
        "](https://example.org/a)",
    ):
        assert expected in text, expected
    assert page.cells[-1].metadata.mystnb.figure.name == f"fig-a{own}"


def test_the_section_on_the_default_run_goes_with_its_label_and_nothing_else(tmp_path):
    cells = (
        "# A title\n\nBegin.",
        f"Before.\n\n(sec-f)=\n## {run_pages.FINDINGS}\n\nGone.\n```bash\n# no heading\n```\n### Below\nGone too.",
        ">>>gone()",
        "## Next\nHere.",
        ">>>kept()",
    )
    page = run_pages.run_page(run_of(tmp_path, cells=cells))
    assert texts(page).endswith("Before.\n## Next\nHere.")
    assert [c.source for c in page.cells if c.cell_type == "code"] == ["kept()"]


def test_title_and_command_name_what_differs_and_no_folder_of_a_machine(tmp_path):
    folder = fake_runs.write(
        tmp_path, "ss_cam-imagenet-resnet18-s2", dataset="imagenet", network="resnet18", seed=2, limit=500,
        data_root="/data/someone/images",
    )  # fmt: skip
    (run,) = read_runs(tmp_path)
    assert run_pages.short_name(run) == "imagenet, resnet18, seed 2, limit 500"
    page = run_pages.run_page(run)
    assert page.cells[0].source.startswith("# SS-CAM: [imagenet, resnet18, seed 2, limit 500]{.value}\n")
    for part in ("-p dataset imagenet", "-p data_root path/to/images", "-p limit 500", "26 min", "with changes"):
        assert part in page.cells[0].source
    assert "someone" not in "".join(cell.source for cell in page.cells)
    assert "default" in page.cells[0].source and folder.name in page.cells[0].source


def test_contents_list_runs_under_their_chapter_and_the_default_run_is_the_chapter(tmp_path):
    runs = [run_of(tmp_path), run_of(tmp_path, name="ss_cam")]
    contents = run_pages.add_to_toc(yaml.safe_load((ROOT / "_toc.yml").read_text()), runs)
    chapters = {c["file"]: c for part in contents["parts"] for c in part["chapters"]}
    assert chapters["notebooks/ss_cam"]["sections"] == [
        {"file": "runs/ss_cam-digits-s1", "title": "digits, seed 1"}
    ]
    assert "sections" not in chapters["notebooks/minmax_cam"]
    assert run_pages.page_of(runs[1]) == "notebooks/ss_cam"
    with pytest.raises(ValueError, match="does not list: notebooks/other"):
        run_pages.add_to_toc(contents, [run_of(tmp_path, chapter="other", name="other-s1")])


def test_published_numbers_are_those_of_the_same_data_and_network_else_a_range():
    def find(*key):
        low, high, where = results_page.published(*key)
        return round(low, 2), round(high, 2), where

    same = ("minmax_table1", "voc2007", "efficientnet_b6", "val", "CAM", "%IC")
    assert find(*same) == (39.67, 39.67, "VOC07; Eb6")
    low, high, where = find("minmax_table1", "digits", "digits", "val", "CAM", "%IC")
    assert low < high == 39.67 and where == "VOC07; Eb6, RN101, VGG16"
    assert find("repcam_table5", "voc2012", "resnet101", "train", "CAM [21]", "mIoU") == (
        26.86,
        26.86,
        "VOC12; ResNet101",
    )
    assert find("repcam_table1_topk", "voc2012", "resnet152", "val", "All", "mIoU")[0] == 35.22, "avg, in percent"
    assert find("repcam_table3", "voc2012", "resnet50", "train", "Random+F", "mIoU")[0] == 28.92, "as random +F"
    with pytest.raises(ValueError, match="minmax_table1"):
        results_page.published("minmax_table11", *same[1:])


def test_seeds_are_one_row_and_other_parameters_are_not(tmp_path):
    for name, changed in (("a-s0", {}), ("a-s1", {"seed": 1}), ("b", {"limit": 5})):
        fake_runs.write(tmp_path, name, **changed)
    shifted = pd.read_csv(tmp_path / "a-s1" / "means.csv")
    shifted[["value", "low", "high"]] += 10
    shifted.to_csv(tmp_path / "a-s1" / "means.csv", index=False)
    found = results_page.means(read_runs(tmp_path))
    one = pd.read_csv(tmp_path / "a-s0" / "means.csv")
    pooled, lone = (found[found["seeds"] == n].reset_index(drop=True) for n in (2, 1))
    assert len(pooled) == len(lone) == len(one)
    assert (pooled["value"] - one["value"]).round(6).eq(5).all()
    assert (pooled["high"] - pooled["low"]).round(6).eq(12).all()
    assert set(pooled["runs"]) == {("a-s0", "a-s1")} and lone["setting"].str.endswith("limit 5").all()


def test_a_table_of_a_chapters_own_is_not_put_beside_a_papers(tmp_path):
    file = fake_runs.write(tmp_path, "a") / "means.csv"
    own = pd.read_csv(file)
    pd.concat([own, own.assign(table="ss_cam")]).to_csv(file, index=False)
    found = results_page.means(read_runs(tmp_path))
    assert set(found["table"]) == {"sscam_table1"} and len(found) == len(own)


def test_heads_with_runs_of_their_own_are_not_taken_for_seeds(tmp_path):
    for head in ("linear", "kernel-usage"):
        fake_runs.write(tmp_path, head, "minmax_cam", head=head)
    found = results_page.means(read_runs(tmp_path))
    assert set(found["seeds"]) == {1} and set(found["runs"]) == {("linear",), ("kernel-usage",)}


def test_rows_of_one_setting_stand_together_under_one_link_to_each_run(tmp_path):
    for name, changed in (("a-s0", {}), ("a-s1", {"seed": 1}), ("b", {"limit": 5})):
        fake_runs.write(tmp_path, name, **changed)
    parts = results_page.results_part(read_runs(tmp_path)).split("<details>")[1:]
    assert [re.findall(r'href="([^"]*)"', part) for part in parts] == [
        ["../runs/a-s0.html", "../runs/a-s1.html"],
        ["../runs/b.html"],
    ]
    digits, setting = (f'<span class="value">{text}</span>' for text in ("digits", "one &lt;digit&gt;"))
    assert parts[0].startswith(f"<summary>{digits}, {setting}: 8 rows</summary>")
    assert "images: 24 x 2 seeds · " in parts[0] and "images: 24 · " in parts[1]
    heads = re.findall(r'<th scope="col">(.*?)</th>', parts[0])
    assert heads[:5] == ["method", "metric", "ours [95%]", "paper", "ours - paper"] and "run" not in heads


def test_what_differs_between_rows_stays_a_column(tmp_path):
    file = fake_runs.write(tmp_path, "a") / "means.csv"
    rows = pd.read_csv(file)
    rows.assign(n_images=range(1, len(rows) + 1)).to_csv(file, index=False)
    part = results_page.results_part(read_runs(tmp_path))
    assert '<th scope="col">images</th>' in part and "images: " not in part
    assert f"<td>{len(rows)}</td>" in part


def test_texts_of_runs_are_escaped(tmp_path):
    fake_runs.write(tmp_path, "ss_cam-digits-s1", seed=1)
    part = results_page.results_part(read_runs(tmp_path))
    assert "one &lt;digit&gt;" in part and "<digit>" not in part


def test_without_runs_the_pages_say_so_and_every_claim_is_still_there():
    assert "No run" in results_page.results_part([])
    part = claims_part(claims.judge([]), [])
    on_paper = {"C7", "C14"}  # about printed cells: the paper's tables answer
    assert "No run" in part and part.count("○ not run</span>") == len(set(claims.CLAIMS) - on_paper)
    assert all(f">{name}</a>" in part for name in claims.CLAIMS)


def test_half_runs_have_no_page_and_a_run_without_its_notebook_is_an_error(tmp_path):
    (tmp_path / "ss_cam-failed").mkdir()
    assert read_runs(tmp_path) == []
    run = run_of(tmp_path)
    (run.folder / "notebook.ipynb").unlink()
    with pytest.raises(FileNotFoundError, match="ss_cam-digits-s1 has no executed notebook"):
        run_pages.run_page(run)


def test_a_page_without_its_placeholders_is_an_error(tmp_path):
    (tmp_path / "page.md").write_text("# Page\n")
    with pytest.raises(ValueError, match=r"page.md to have the line .* 1 time\(s\), got 0"):
        pages.fill(tmp_path / "page.md", "x")
    for name, parts in pages.GENERATED.items():
        assert len(pages.PLACEHOLDER.findall((ROOT / f"{name}.md").read_text())) == len(parts), name


def test_generated_parts_take_the_places_of_their_lines_in_order(tmp_path):
    line = "*The numbers are filled in here when the book is built (`make book`).*\n"
    (tmp_path / "page.md").write_text(f"# Page\n\n{line}\n## Next\n\n{line}")
    with pytest.raises(ValueError, match=r"1 time\(s\), got 2"):
        pages.fill(tmp_path / "page.md", "x")
    pages.fill(tmp_path / "page.md", r"first \1" + "\n", "second\n")
    assert (tmp_path / "page.md").read_text() == "# Page\n\nfirst \\1\n\n## Next\n\nsecond\n"


def rows_of(page):
    """Return the cells of a page's tables, row by row; in a cell no text but that outside of <small>."""
    rows = re.findall(r'<tr data-data="[^"]*">(<td.*?)</tr>', page, re.S)
    cells = [re.findall(r"<td>(.*?)</td>", row, re.S) for row in rows]
    return [[html.unescape(re.sub("<small>.*?</small>|<.*?>", "", cell)) for cell in row] for row in cells]


def test_every_run_is_a_page_and_linked_and_the_file_of_claims_is_the_page(site):
    pages_of = ["runs/ss_cam-digits-s1.html", "runs/ss_cam-imagenet-resnet18-s0.html", "notebooks/ss_cam.html"]
    for name in ("results", "claims_ss_cam"):
        page = (site / "book" / f"{name}.html").read_text()
        assert all(f'"../{target}"' in page for target in pages_of), name
        assert len(page) < 1_000_000
    sidebar = (site / "notebooks" / "ss_cam.html").read_text()
    assert all(f'"../{target}"' in sidebar for target in pages_of[:2])
    assert "imagenet, resnet18, seed 0" in sidebar and (site / pages_of[1]).is_file()
    (file,) = site.glob("_downloads/*/claims.csv")
    stored = pd.read_csv(file, keep_default_na=False)
    names = [f"claims_{chapter}.html" for chapter in claims.SETTINGS]
    shown = [row for name in names for row in rows_of((site / "book" / name).read_text())]
    assert len(shown) == len(stored) > 40
    assert sorted(row[1].split(" ", 1)[1] for row in shown) == sorted(stored["verdict"])
    judged = stored[stored["verdict"] != "not run"].replace({"low": {"": "nan"}, "high": {"": "nan"}})  # exact ones
    assert sorted(row[2] for row in shown if "not run" not in row[1]) == sorted(
        claims.text(row) + ("" if row["unit"] in ("%", "number") else f" {row['unit']}")
        for row in judged.astype({"value": float, "low": float, "high": float}).to_dict("records")
    )


def test_a_table_that_the_run_did_not_make_is_not_referred_to():
    cells = [
        nbformat.v4.new_markdown_cell("See {numref}`tab-a` and {numref}`tab-b`."),
        nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("stream", text="1")]),
        nbformat.v4.new_code_cell("None"),
    ]
    for cell, name in zip(cells[1:], ("tab-a", "tab-b"), strict=True):
        cell.metadata["mystnb"] = {"figure": {"name": name, "caption": name}}
    page = nbformat.v4.new_notebook(cells=cells)
    run_pages._make_unique(page, "x")
    assert page.cells[0].source == "See {numref}`tab-a--x` and (not in this run)."
    assert "figure" not in page.cells[2].metadata["mystnb"]
