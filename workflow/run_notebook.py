"""Run a notebook with other parameters: python workflow/run_notebook.py NOTEBOOK OUT -p name value ...

The executed notebook appears at OUT only when every cell has run. A failed run leaves its notebook in the folder of
logs, never at OUT, and ends with one line that names the cell and the exception. Values are read as YAML. Relative
paths, in parameters too, count from the folder the command is given in.
"""

import argparse
import hashlib
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

from cam_utils.names import check_known

LOGS = Path(__file__).resolve().parents[1] / "_build" / "logs"


class NotebookFailed(RuntimeError):
    """One line: the notebook, the cell, the exception, and where the executed part lies."""


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
    NotebookFailed if a cell raises or the kernel dies.
    """
    notebook, out = Path(notebook), Path(out)
    if not notebook.is_file():
        raise FileNotFoundError(f"no notebook at {notebook}")
    known = list(papermill.inspect_notebook(str(notebook)))
    for name in parameters or {}:
        check_known("parameter", name, known)
    logs.mkdir(parents=True, exist_ok=True)
    # Two runs of one notebook may be under way: the name tells their outputs apart.
    log = logs / f"{out.stem}-{hashlib.sha1(str(out.resolve()).encode()).hexdigest()[:8]}.ipynb"
    os.environ["TQDM_DISABLE"] = "1"  # bars on stderr would be stored with the outputs
    try:
        with _kernel_settings() as config:
            papermill.execute_notebook(
                str(notebook), str(log), parameters or {}, progress_bar=progress, config=config
            )
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {' '.join(str(error.evalue).split())}"
        raise NotebookFailed(f"{notebook} cell {error.exec_count}: {reason} (executed part: {log})") from error
    except RuntimeError as error:  # nbclient: the kernel died or did not start
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise NotebookFailed(f"{notebook}: {reason} (executed part: {log})") from error
    executed = nbformat.read(log, 4)
    tidy(executed)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    nbformat.write(executed, partial)
    partial.replace(out)
    log.unlink()
    return out


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop from an executed notebook what differs between two equal runs: clock times, random ids, cut streams."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)


def _joined(outputs: list) -> list:
    """Return the outputs with neighbouring pieces of one stream as one: where they split depends on timing."""
    kept = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    parser.add_argument("--logs", type=Path, default=LOGS, help="where a failed run leaves its notebook")
    given = parser.parse_args(arguments)
    try:
        parameters = {name: value_of(text) for name, text in given.parameters}
        print(run(given.notebook, given.out, parameters, logs=given.logs))
    except (FileNotFoundError, ValueError, NotebookFailed, yaml.YAMLError) as error:
        sys.exit(f"run_notebook: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
