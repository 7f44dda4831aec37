"""What whole data sets cost: the page's part against hand arithmetic."""

import json
import re

from cam_utils.runs import Run
from workflow.site import scale_part, speed_page


def study(folder, **changed):
    """Return a run of the study whose rates are 0.2 and 4 seconds per image."""
    (folder / "facts.json").write_text(json.dumps({"seconds_per_image": {"minmax-cam": 0.2, "score-cam": 4.0}}))
    parameters = {"dataset": "voc2012", "architecture": "squeezenet1_0"} | changed
    return Run(folder, {"chapter": "photographs", "parameters": parameters})


def part(folder, *runs):
    """Return the part without what keeps its values from being read as markup."""
    text = "\n".join(scale_part.scale_part(folder, runs, speed_page.table)).replace("\\", "")
    return re.sub(r"\[(.*?)\]\{\.value\}", r"\1", text)


def test_without_the_study_there_is_no_part(tmp_path):
    assert part(tmp_path) == part(tmp_path, study(tmp_path, finetune=True), study(tmp_path, dataset="msrc")) == ""


def test_costs_on_two_cores_follow_from_the_rates_and_nothing_else_is_made_up(tmp_path):
    text = part(tmp_path, study(tmp_path))
    cam, score, smoothed = (line for line in text.splitlines() if line.startswith("| squeezenet"))
    assert "| 4 min |" in cam and "| 83 min |" in cam  # 2,510 and 50,000 images of 0.1 s
    assert "84 min" in score and "27.8 h" in score and "11.6 days" in smoothed
    assert scale_part.NO_GPU in text and scale_part.NO_SLURM in text


def test_a_cluster_ends_where_a_job_takes_as_long_to_start_as_it_saves(tmp_path):
    (tmp_path / "bench").mkdir()
    slurm = {"runs": 1000, "seconds inside a run": 3.0, "seconds per run": 0.5, "device": "a machine"}
    (tmp_path / "bench" / "engine_slurm.json").write_text(json.dumps(slurm))
    studies = tmp_path / "gpu" / "studies-x"
    studies.mkdir(parents=True)
    spent = {"seconds": {"score-cam": 60.0, "ss-cam": 0.0}, "images": {"score_cam": 120}}
    (studies / "run.json").write_text(json.dumps(spent))
    text = part(tmp_path, study(tmp_path))
    work = 50_000 * 0.1
    jobs = scale_part.most_jobs(work, 0.5)
    best = scale_part.of_jobs(work, jobs, 3.0, 0.5)
    assert jobs == 100 and all(scale_part.of_jobs(work, n, 3.0, 0.5) >= best for n in range(1, 1000))
    assert "100: 103 s" in text
    assert "| efficientnet_lite0 | Score-CAM | 21 min, 55 s |" in text  # 2,510 images of 0.5 s; 1255 / 64 + 3 + 32
