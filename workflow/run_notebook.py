"""Run a notebook with other parameters: python -m workflow.run_notebook NOTEBOOK OUT -p name value ...

The executed notebook appears at OUT only when every cell has run. A failed run leaves its notebook in the folder of
logs, never at OUT, and ends with one line that names the cell and the exception. Relative paths, in parameters too,
count from the folder the command is given in.

A value is what the parameter is: a text stays as it is, whatever it looks like (2024-05-01, 4.10, no, ~); a list
has commas, with brackets or without; null is None where that is allowed, so that a folder of this name is ./null.
In a notebook of your own the default says what a parameter is. All are checked before anything is written or
computed; --parameters lists them.
"""

import argparse
import ast
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import nbformat
import papermill
import tqdm.auto  # noqa: F401  tqdm reads TQDM_DISABLE when imported; set below, it reaches the kernel only
from jupyter_client import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from cam_utils import owned
from cam_utils import parameters as declared
from cam_utils.files import fingerprint, written
from cam_utils.names import check_known
from cam_utils.parameter_rules import unfit
from workflow import ROOT, RunFailed
from workflow.ending import ENDED_BY, ending
from workflow.parameter_texts import kinds_of

LOGS = ROOT / "_build" / "logs"
LONGEST = 220  # bytes of a file's name, to which `written` adds some for a while
SOCKET = 100  # bytes of a socket's path that every system takes


class Manager(AsyncKernelManager):
    """Ends a kernel; where a signal ends this process it does not wait for what the kernel has to say to that."""

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """Shut the kernel down, at once if this process was ended."""
        if ENDED_BY and self.provisioner:
            await self.provisioner.kill()
        await super().shutdown_kernel(now or bool(ENDED_BY), restart)


# Where a stream is cut and when a cell began differs between two equal runs.
CLIENT = {"coalesce_streams": True, "record_timing": False, "kernel_manager_class": Manager}


def run(
    notebook: str | Path,
    out: str | Path,
    parameters: dict | None = None,
    *,
    logs: Path = LOGS,
    progress: bool = True,
) -> Path:
    """Execute `notebook` with `parameters` and return `out`, written whole or not at all; `out` may be `notebook`.

    Raises, before anything is written, FileNotFoundError for a missing notebook, ValueError for a parameter that it
    does not have, for a wrong value of a chapter of this book, and for an `out` that cannot be written or that
    another run is making; RunFailed if a cell raises or the kernel dies, with the notebook, the cell, and where the
    executed part lies.
    """
    notebook, out = Path(notebook), Path(out)
    check(notebook, parameters or {})
    if os.path.isdir(out) or len(os.fsencode(out.name)) > LONGEST:
        raise ValueError(f"expected OUT as a file, of a name up to {LONGEST} bytes, got {out}")
    if sentence := unfit(out.parent, "OUT's folder"):
        raise ValueError(sentence)
    digest = fingerprint(str(out.resolve()))
    with _alone(owned.private("locks") / f"out-{digest}.lock", out):
        owned.sweep(out.parent, out.name)
        logs.mkdir(parents=True, exist_ok=True)
        # Two runs of one notebook may be under way: the name tells their outputs apart.
        log = logs / f"{out.stem}-{digest[:8]}.ipynb"
        executed = _execute(notebook, log, parameters or {}, progress)
        with written(out) as partial:
            nbformat.write(executed, partial)
        log.unlink(missing_ok=True)
    return out


@contextmanager
def _alone(file: Path, out: Path) -> Iterator[None]:
    """Hold the lock of what makes `out`; raises ValueError if another run has it."""
    held = filelock.FileLock(file, timeout=0)
    try:
        held.acquire()
    except filelock.Timeout:
        raise ValueError(f"another run is making {out}: wait until it has ended, or name another OUT") from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # who waits for it sees that it is gone, and makes a new one
        held.release()


def _execute(notebook: Path, log: Path, parameters: dict, progress: bool) -> nbformat.NotebookNode:
    """Return the executed notebook; what of it is executed lies at `log`, also after a failure."""
    os.environ["TQDM_DISABLE"] = "1"  # bars on stderr would be stored with the outputs
    try:
        with owned.scratch() as folder:
            # papermill fills in braces in paths, and takes what begins like an address for one
            places = [str(path.absolute()).replace("{", "{{").replace("}", "}}") for path in (notebook, log)]
            papermill.execute_notebook(
                *places, parameters, progress_bar=progress, config=_sockets(folder / "k"), **CLIENT
            )
    except PapermillExecutionError as error:
        reason = f"{error.ename}: {' '.join(str(error.evalue).split())}"
        raise RunFailed(f"{notebook} cell {error.exec_count}: {reason} (executed part: {log})") from error
    except RuntimeError as error:  # nbclient: the kernel died or did not start
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise RunFailed(f"{notebook}: {reason} (executed part: {log})") from error
    executed = nbformat.read(log, 4)
    tidy(executed)
    return executed


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


def _sockets(path: Path) -> Config:
    """Give the kernel sockets in a folder of its own: kernels started together can take each other's TCP ports."""
    if os.name != "posix" or len(os.fsencode(path)) > SOCKET:
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": str(path)}})


def defaults(notebook: Path) -> dict[str, tuple[object, str]]:
    """Return a notebook's parameters with their default (None for one that is no literal) and its comment.

    Raises FileNotFoundError without the notebook, ValueError for a file that is none.
    """
    if not os.path.isfile(notebook):
        raise FileNotFoundError(f"no notebook at {notebook}")
    try:
        found = papermill.inspect_notebook(str(notebook.absolute()).replace("{", "{{").replace("}", "}}"))
    except Exception as error:  # nbformat and papermill raise many types for a file that is no notebook
        raise ValueError(f"{notebook} is no notebook: {(str(error) or type(error).__name__)[:200]}") from error

    def value(source: str) -> object:
        try:
            return ast.literal_eval(source)
        except (ValueError, SyntaxError):
            return None

    return {name: (value(facts["default"]), facts["help"]) for name, facts in found.items()}


def check(notebook: Path, parameters: dict) -> None:
    """Raise ValueError for a parameter that the notebook does not have, and for a chapter's value that is none.

    A chapter, also a copy of one, is known by its parameters. Raises FileNotFoundError as :func:`defaults`.
    """
    known = {name: default for name, (default, _) in defaults(notebook).items()}
    for name in parameters:
        check_known("parameter", name, known)
    if chapter := declared.chapter_of(known):
        declared.check(chapter, known | parameters)


def read(notebook: Path, given: list[tuple[str, str]]) -> dict[str, object]:
    """Return the parameters that texts mean in a notebook; raises ValueError for a text that means none."""
    known = defaults(notebook)
    for name, _ in given:
        check_known("parameter", name, known)
    kinds = kinds_of({name: default for name, (default, _) in known.items()})
    return {name: kinds[name].check(name, kinds[name].read(text)) for name, text in given}


def described(notebook: Path) -> str:
    """Return a list of a notebook's parameters: name and default, meaning, what is expected."""
    known, lines = defaults(notebook), []
    chapter = declared.CHAPTERS.get(declared.chapter_of(known), {})
    for name, (default, comment) in known.items():
        about = [chapter[name].meaning, f"({chapter[name].words})"] if chapter else [comment.lstrip("# ")]
        lines += [
            f"{name} = {default!r}",
            *textwrap.wrap(" ".join(about), 100, initial_indent="    ", subsequent_indent="    "),
        ]
    return "\n".join(lines) or f"{notebook} has no parameters: none of its cells has the tag `parameters`"


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return the options of the command line; a value may begin with a dash, which argparse takes for an option."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow.run_notebook",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("-p", nargs=2, metavar=("NAME", "VALUE"), help="a parameter; may be given many times")
    parser.add_argument("--parameters", action="store_true", help="list the notebook's parameters and run nothing")
    parser.add_argument("--logs", type=Path, default=LOGS, help="where a failed run leaves its notebook")
    rest, values = [], []
    while arguments:
        first, *arguments = arguments
        if first == "--":
            rest, arguments = [*rest, first, *arguments], []
        elif first == "-p" and len(arguments) >= 2:
            values.append((arguments[0], arguments[1]))
            arguments = arguments[2:]
        else:
            rest.append(first)
    given = parser.parse_args(rest)
    if given.p:
        parser.error("expected a name and a value after -p")
    if given.out is None and not given.parameters:
        parser.error("expected OUT, the path of the executed notebook")
    given.p = values
    return given


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run; exits with one line on a wrong parameter, notebook or cell."""
    given = parsed(sys.argv[1:] if arguments is None else arguments)
    with ending("run_notebook"):
        try:
            if given.parameters:
                print(described(given.notebook))
                return
            print(run(given.notebook, given.out, read(given.notebook, given.p), logs=given.logs))
        except (FileNotFoundError, PermissionError, ValueError, RunFailed) as error:
            sys.exit(f"run_notebook: {' '.join(str(error).split())}")
        except OSError as error:  # a full disk or a quota; what papermill fails to write has no name
            where = error.filename or f"{given.out}, or what is executed of it in {given.logs},"
            sys.exit(f"run_notebook: {where} cannot be written: {error.strerror}")


if __name__ == "__main__":
    main()
