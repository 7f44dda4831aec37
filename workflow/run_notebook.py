"""Run a notebook with other parameters: python -m workflow.run_notebook NOTEBOOK OUT -p name value ...

The executed notebook appears at OUT only when every cell has run. A failed run leaves its notebook in the folder of
logs, never at OUT, and ends with one line that names the cell and the exception. Values are read as YAML. Relative
paths, in parameters too, count from the folder the command is given in.
"""

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
import tqdm.auto  # noqa: F401  tqdm reads TQDM_DISABLE when imported; set below, it reaches the kernel only
import yaml
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from cam_utils.files import fingerprint, written
from cam_utils.names import check_known
from workflow import ROOT, RunFailed

LOGS = ROOT / "_build" / "logs"
# Where a stream is cut and when a cell began differs between two equal runs.
CLIENT = {"coalesce_streams": True, "record_timing": False}


def run(
    notebook: str | Path,
    out: str | Path,
    parameters: dict | None = None,
    *,
    logs: Path = LOGS,
    progress: bool = True,
) -> Path:
    """Execute `notebook` with `parameters` and return `out`, written whole or not at all; `out` may be `notebook`.

    Raises FileNotFoundError for a missing notebook, ValueError for a parameter that it does not have,
    RunFailed if a cell raises or the kernel dies, with the notebook, the cell, and where the executed part lies.
    """
    notebook, out = Path(notebook), Path(out)
    if not notebook.is_file():
        raise FileNotFoundError(f"no notebook at {notebook}")
    known = list(papermill.inspect_notebook(str(notebook)))
    for name in parameters or {}:
        check_known("parameter", name, known)
    logs.mkdir(parents=True, exist_ok=True)
    # Two runs of one notebook may be under way: the name tells their outputs apart.
    log = logs / f"{out.stem}-{fingerprint(str(out.resolve()))[:8]}.ipynb"
    os.environ["TQDM_DISABLE"] = "1"  # bars on stderr would be stored with the outputs
    try:
        with _kernel_settings() as config:
            papermill.execute_notebook(
                str(notebook), str(log), parameters or {}, progress_bar=progress, config=config, **CLIENT
            )
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {' '.join(str(error.evalue).split())}"
        raise RunFailed(f"{notebook} cell {error.exec_count}: {reason} (executed part: {log})") from error
    except RuntimeError as error:  # nbclient: the kernel died or did not start
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise RunFailed(f"{notebook}: {reason} (executed part: {log})") from error
    executed = nbformat.read(log, 4)
    tidy(executed)
    with written(out) as partial:
        nbformat.write(executed, partial)
    log.unlink()
    return out


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop from an executed notebook what else differs between two equal runs: papermill's clock, random ids."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"


@contextmanager
def _kernel_settings():
    """Give the kernel sockets in a folder of its own: kernels started together can take each other's TCP ports."""
    if os.name != "posix":
        yield Config()
        return
    folder = tempfile.mkdtemp(prefix="kernel-")
    try:
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/k"}})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def value_of(text: str) -> object:
    """Return the YAML value of `text`; YAML 1.1 takes 1e-3 for a text, this does not.

    >>> [value_of(text) for text in ("3", "1e-3", "true", "[cam, minmax-cam]", "digits", "null")]
    [3, 0.001, True, ['cam', 'minmax-cam'], 'digits', None]
    """
    value = yaml.safe_load(text)
    if isinstance(value, str) and text[:1] in "+-.0123456789":
        try:
            return float(value)
        except ValueError:
            pass
    return value


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run; exits with one line on a wrong parameter, notebook or cell."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow.run_notebook",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    parser.add_argument("--logs", type=Path, default=LOGS, help="where a failed run leaves its notebook")
    given = parser.parse_args(arguments)
    try:
        parameters = {name: value_of(text) for name, text in given.parameters}
        print(run(given.notebook, given.out, parameters, logs=given.logs))
    except (FileNotFoundError, ValueError, RunFailed, yaml.YAMLError) as error:
        sys.exit(f"run_notebook: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
