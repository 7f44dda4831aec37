"""The page on networks: its sentences say what the rows of the study hold, and every value stands as text."""

import re

import pandas as pd
import pytest

from tests.conftest import ROOT
from workflow.site import networks_page
from workflow.studies import zoo

ROWS = pd.DataFrame(
    [
        ("torchvision", "resnet18", "cnn", 11_700_000, "layer4", "(B,K,H,W)", 7, "right", 2e-14, 2, 1.125, ""),
        ("timm", "vit", "transformer", 5_700_000, "blocks.11.norm1", "(B,1+N,K)", 14, "right", 3e-9, 1, 1.5, ""),
        ("timm", "mixer", "mlp", 19_000_000, "norm", "(B,N,K)", 7, "right", 1e-9, 2, 1.25, ""),
        ("timm", "odd", "cnn", 1_000, "", "", None, "refused", None, None, None, "no layer of Odd has <b>maps</b>"),
        ("timm", "bad", "cnn", 1_000, "a", "(B,N,K)", 7, "wrong", 0.5, 2, 1.0, "maps differ: grad-cam"),
    ],
    columns=[
        *("library", "network", "kind", "parameters", "layer", "layout", "map", "outcome", "difference", "corners"),
        *("ratio", "sentence"),
    ],
)
TIMES = pd.DataFrame(
    [
        ("vit", images, labels, method, least + labels / 10, least, least + 1)
        for images in (1, 4)
        for labels in (1, 5)
        for method, least in (("grad-cam", 1.0), ("x", 1.02))
    ],
    columns=["network", "images", "labels", "method", "ratio", "low", "high"],
)


def plain(text):
    text = re.sub(r"\[(.*?)\]\{\.value\}", r"\1", text).replace("\\", "")
    text = re.sub("</?span[^>]*>", "", text)
    return re.sub("(</?t[hdr][^>]*>)+", " ", text).replace("  ", " ")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "data" / "results"
    folder.mkdir(parents=True)
    kept = ROWS.assign(map=ROWS["map"].astype("Int64"), corners=ROWS["corners"].astype("Int64"))
    kept.to_csv(folder / "zoo.csv", index=False)
    TIMES.to_csv(folder / "zoo_times.csv", index=False)
    return tmp_path


def test_sentences_of_known_rows(source):
    text = plain(networks_page.networks_part(source))
    for said in (
        "Of 5 networks (3 of convolutions, 1 with attention, 1 of linear layers between patches) **3 are explained "
        "right**: no pixel of any of their maps differs by more than 3e-09 from",
        "- 1 is refused: odd.",
        "- 1 is wrong: bad.",
        "2 give tokens; 1 give (B,K,H,W). 1 of these have tokens before",
        "in 2 of 3 both corners that were changed change their own corner of the map most; in vit they do not",
        "Two labels of one image take 1.25 times as long as one forward "
        "(the median; 1.12 to 1.50 over all networks).",
        "On vit one label takes 1.10 to 1.12 forwards and 5 labels take 1.50 to 1.52",
        "timm/odd cnn 0.0 M refused (no layer of Odd has &lt;b&gt;maps&lt;/b&gt;)",
        "torchvision/resnet18 cnn 11.7 M layer4 (B,K,H,W) 7 right 2e-14 2 1.12",
        "| vit | 4 | 5 | x | 1.52 (1.02-2.02) |",
    ):
        assert said in text, said
    assert "<b>" not in networks_page.networks_part(source)


def test_the_page_says_what_the_stored_study_holds():
    text = networks_page.networks_part(ROOT)
    rows = pd.read_csv(ROOT / "data" / "results" / "zoo.csv")
    every = [name for names in zoo.NETWORKS.values() for name in names.split()]
    assert rows["network"].tolist() == every and len(every) >= 60
    assert (rows["outcome"] == "right").sum() >= 60 and not (rows["outcome"] == "wrong").any()
    assert rows.loc[rows["outcome"] == "refused", "sentence"].notna().all()
    times = pd.read_csv(ROOT / "data" / "results" / "zoo_times.csv")
    assert text.count("\n| ") == len(times) + 2 and text.count("<tr>") == len(rows) + 1
