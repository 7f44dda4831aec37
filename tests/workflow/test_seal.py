"""What the project stores is sealed, and the command that seals what was written before."""

import json

import pytest
import torch

from cam_utils import files, runs, seals
from cam_utils.networks import models, weight_files
from workflow.studies.seal import seal

RUNS = sorted((files.DATA / "results" / "runs").glob("*/run.json"))
CHECKPOINTS = sorted((files.DATA / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.parent.name)
def test_a_stored_run_is_as_it_was_written(file):
    """If not: make it again, or `python -m workflow.studies.seal FOLDER` where it is right as it is."""
    record = json.loads(file.read_bytes())
    seals.check_run(file.parent, record)
    kept = {each.name for each in file.parent.iterdir() if each.suffix in runs.KEPT}
    assert kept == record["files"].keys() | {"run.json"}


@pytest.mark.parametrize("file", CHECKPOINTS, ids=lambda file: file.stem)
def test_a_stored_checkpoint_is_as_it_was_written(file):
    assert models.is_checkpoint(weight_files.read_own(file, sealed=True))


def test_a_run_and_a_checkpoint_from_before_are_sealed_as_they_are(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "means.csv").write_text("a\n1\n")
    (tmp_path / "run" / "run.json").write_text(
        '{"chapter": "ss_cam", "parameters": {}, "seal": "0123456789abcdef"}'
    )
    torch.save({"state": {"a": torch.ones(2)}}, tmp_path / "a.pt")
    for path in (tmp_path / "run", tmp_path / "a.pt"):
        assert "sealed before" not in seal(path) and "sealed before" in seal(path)
    record = json.loads((tmp_path / "run" / "run.json").read_bytes())
    seals.check_run(tmp_path / "run", record)
    assert record["chapter"] == "ss_cam" and list(record["files"]) == ["means.csv"]
    assert torch.equal(weight_files.read_own(tmp_path / "a.pt", sealed=True)["state"]["a"], torch.ones(2))
    (tmp_path / "run" / "means.csv").write_text("a\n2\n")
    with pytest.raises(ValueError, match=r"means\.csv is damaged, was changed"):
        seal(tmp_path / "run")
