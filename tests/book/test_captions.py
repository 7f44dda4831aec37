"""The extension of captions: alt texts from captions, and tables that are counted as tables."""

import pytest
from captions import Captions, TableOutput, caption_of
from docutils import nodes
from docutils.utils import new_document


@pytest.fixture
def document():
    """A document with a captioned output named `name` that holds one picture."""

    def make(name, **picture):
        made = new_document("page")
        caption = nodes.caption("", "", nodes.Text("What is\n"), nodes.emphasis("", "shown"))
        figure = nodes.figure("", nodes.container("", nodes.image(uri="x.png", **picture)), caption, names=[name])
        made += figure
        made.note_explicit_target(figure, figure)
        Captions(made).apply()
        return made

    return make


def test_a_picture_gets_its_caption_as_alt_text_unless_it_has_its_own(document):
    assert next(document("fig-a").findall(nodes.image))["alt"] == "What is shown"
    assert next(document("fig-a", alt="own").findall(nodes.image))["alt"] == "own"


@pytest.mark.parametrize("name", ["tab-a", "tab-a--run"])
def test_the_label_of_a_table_makes_it_one_and_keeps_leading_to_it(document, name):
    made = document(name)
    (table,) = made.findall(TableOutput)
    assert made.ids[table["ids"][0]] is table and table["names"] == [name]
    assert caption_of(table) == "What is\nshown" and len(table.children) == 2


def test_other_labels_stay_figures(document):
    assert not list(document("fig-tab-a").findall(TableOutput))
