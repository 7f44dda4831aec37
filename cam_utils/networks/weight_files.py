"""What a file of weights is and what it holds; nothing in it is executed.

Classes and functions of other packages in a file are replaced by empty dictionaries.
"""

import hashlib
import re
import threading
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cam_utils import seals
from cam_utils.files import written

# How files of other kinds begin, whatever they are called
OTHERS = (
    (rb"version https://git-lfs", "is a pointer of Git LFS, not the file itself: fetch that by `git lfs pull`"),
    (rb"(\xef\xbb\xbf)?\s*<", "is a web page or XML, such as the error page of a download"),
    (rb"\x89HDF\r\n", "is an HDF5 file, as Keras writes"),
    (rb"\x08[\x01-\x20](\x12|\x3a)", "is an ONNX model"),
    (rb"....TFL3", "is a TensorFlow Lite model"),
    (rb"\x93NUMPY", "is a NumPy array"),
    (rb"GGUF", "is a GGUF model"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "is a compressed archive: unpack it first"),
    (rb"\x80.(?!.{0,12}\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19)", "was written by pickle and not by torch.save"),
)
INFLATED = 100  # a ZIP archive that unpacks to so many times its size is none of torch.save's, which are stored
SEAL = "digest"  # the key of the digest in our own files
_LOCK = threading.RLock()  # what torch takes for safe is global


class _Inert:
    """What stands for every class or function of another package in a file: an empty dictionary."""

    def __new__(cls, *_args, **_options) -> OrderedDict:
        return OrderedDict()


def _numpy_globals() -> list:
    """Return what an array in a file is made of, under NumPy's names from before and after 2.0."""
    multiarray = import_module("numpy._core.multiarray")
    made = [(getattr(multiarray, name), name) for name in ("_reconstruct", "scalar")]
    named = [(each, f"numpy.{core}.multiarray.{name}") for core in ("core", "_core") for each, name in made]
    return [*named, np.ndarray, np.dtype, *(getattr(np.dtypes, name) for name in np.dtypes.__all__)]


def form(path: str | Path) -> str:
    """Return what a file is: "tensors" of torch.save, "safetensors", a "script" or a "program" of torch.export.

    Raises FileNotFoundError, IsADirectoryError, PermissionError and ValueError, with the reason, for anything else.
    """
    path = Path(path)
    try:
        folder, there = path.is_dir(), path.is_file()
        head = _head(path) if there else b""
    except OSError as error:  # no permission, a name too long, a device that fails
        raise type(error)(f"{path} cannot be read: {error.strerror}") from error
    if folder:
        raise IsADirectoryError(f"expected a file of weights, got the folder {path}")
    if not there:
        raise FileNotFoundError(f"no weights file at {path}")
    if not head:
        raise ValueError(f"{path} is empty (0 bytes): an interrupted copy or download?")
    if not head.strip(b"\0"):
        raise ValueError(f"{path} begins with zeros alone: an interrupted copy or download?")
    if head[8:9] == b"{" and not any(head[5:8]):  # the length of the header, which is JSON
        return "safetensors"
    for start, reason in OTHERS:
        if re.match(start, head, re.DOTALL):
            raise ValueError(f"{path} {reason}; expected what torch.save(model.state_dict(), path) writes")
    return _archive(path) if head.startswith(b"PK") else "tensors"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _archive(path: Path) -> str:
    """Return the form of a ZIP archive after a look at all its checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            bomb = sum(entry.file_size for entry in entries) > INFLATED * path.stat().st_size
            # torch writes zeros for all checksums where the user has switched them off
            broken = archive.testzip() if not bomb and any(entry.CRC for entry in entries) else None
    except Exception as error:  # zipfile's, zlib's and struct's own types
        raise ValueError(f"{path} is damaged or cut, an interrupted copy or download? ({error})") from error
    if bomb:
        raise ValueError(f"{path} would unpack to {INFLATED} times its size, as no file of torch.save does")
    if broken is not None:
        raise ValueError(f"{path} is damaged: {broken} in it does not match its checksum")
    names = [entry.filename for entry in entries]
    last = {name.rsplit("/", 1)[-1] for name in names}
    if "constants.pkl" in last:
        return "script"
    if last & {"archive_format", "serialized_exported_program.json"}:
        return "program"
    if "data.pkl" not in last:
        kind = (
            "a Keras model"
            if "model.weights.h5" in last
            else f"a ZIP archive of {', '.join(names[:2]) or 'nothing'}"
        )
        raise ValueError(f"{path} is {kind}; expected what torch.save(model.state_dict(), path) writes")
    return "tensors"


def read(path: str | Path) -> dict:
    """Return what a file of torch.save or safetensors holds: tensors, arrays and plain values.

    Raises as :func:`form`; ValueError, too, if it cannot be read; ImportError without the package safetensors.
    """
    return read_with_strangers(Path(path))[0]


def read_with_strangers(path: Path) -> tuple[object, list[str]]:
    """Return what the file holds, and the names of the classes and functions in it that were left out."""
    kind = form(path)
    if kind == "safetensors":
        return _safetensors(path), []
    if kind == "script":
        raise ValueError(f"{path} is a TorchScript program: save the state_dict() of the model that it was made of")
    if kind == "program":
        raise ValueError(f"{path} is a program of torch.export: pass it as the model, not as weights")
    strangers, known = [], _numpy_globals()
    while True:
        # torch names those of Python itself without their module
        named = [begin + name for name in strangers for begin in ("", "builtins.", "__builtin__.")]
        try:
            with _LOCK, torch.serialization.safe_globals([*known, *((_Inert, name) for name in named)]):
                return torch.load(path, map_location="cpu", weights_only=True), strangers
        except Exception as error:  # torch raises half a dozen types for a damaged file
            text = str(error)
            stranger = re.search(r"Unsupported global: GLOBAL (\S+) was", text)
            if stranger and stranger[1] not in strangers:
                strangers.append(stranger[1])
                continue
            blocked = re.search(r"unsupported GLOBAL (\S+) whose", text)
            if blocked or strangers:
                raise ValueError(objects(path, [blocked[1]] if blocked else strangers)) from error
            lines = text.splitlines() or [type(error).__name__]
            raise ValueError(f"{path} is damaged or no PyTorch file: {lines[0]}") from error


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        library = import_module("safetensors.torch")
    except ImportError as error:
        raise ImportError(
            f"{path} needs the package safetensors, which is not installed: pip install safetensors"
        ) from error
    try:
        return library.load_file(path)
    except Exception as error:  # the library's own type, and torch's
        raise ValueError(f"{path} is damaged or cut, an interrupted copy or download? ({error})") from error


def objects(path: Path, names: list[str]) -> str:
    """Return a sentence on a file that holds Python objects of these classes."""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (
        f"{path} holds Python objects ({shown}), which are not executed here: save a model's numbers alone, by "
        "torch.save(model.state_dict(), path), or load it yourself and pass the module"
    )


def save(path: str | Path, content: Mapping[str, object]) -> None:
    """Write tensors and plain values by name, whole or not at all, with a digest of them all.

    Raises OSError naming the file where the disk takes no more.
    """
    # Through Python's own file: torch's writer would not say that a disk is full.
    with written(path) as partial, partial.open("wb") as file:
        torch.save({**content, SEAL: content_digest(content)}, file)


def read_own(path: str | Path, *, sealed: bool = False) -> dict:
    """Return what :func:`save` has written, without the digest, or what another file holds.

    sealed: only the former, as always where this program alone writes.
    Raises as :func:`read`; ValueError, too, if numbers were changed since they were written.
    """
    saved = read(path)
    expected = saved.pop(SEAL, None) if isinstance(saved, dict) else None
    if expected is None and (sealed or seals.ours(path)):
        raise ValueError(f"{path} was changed, or is from an earlier version: it has no digest")
    if expected is not None and content_digest(saved) != expected:
        raise ValueError(f"{path} was changed or damaged since it was written: its digest is another")
    return saved


def kept(path: Path, make: Callable[[], Mapping[str, object]]) -> dict:
    """Return what :func:`save` has written at the path; if there is nothing whole, what make() returns is written.

    A file that is damaged or was changed is named in a warning.
    """
    try:
        return read_own(path, sealed=True)
    except FileNotFoundError:
        pass
    except ValueError as error:
        warnings.warn(f"{error}; it is made again", stacklevel=2)
    save(path, make())
    return read_own(path, sealed=True)


def content_digest(content: object) -> str:
    """Return a digest of nested mappings and lists of tensors and plain values.

    >>> one, two = {"a": [torch.ones(2), 3]}, {"a": [torch.ones(2), 4]}
    >>> content_digest(one) == content_digest(dict(one)), content_digest(one) == content_digest(two)
    (True, False)
    """
    found = hashlib.sha256()
    for piece in _pieces(content):
        found.update(len(piece).to_bytes(8, "little") + piece)
    return found.hexdigest()


def _pieces(content: object) -> Iterator[bytes | memoryview]:
    if isinstance(content, Tensor):
        yield f"{content.dtype} {tuple(content.shape)}".encode()
        value = content.detach().cpu()
        yield value.to_dense().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield repr(key).encode()
            yield from _pieces(value)
        yield b"end of a mapping"
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _pieces(value)
        yield b"end of a list"
    elif isinstance(content, str | bytes | int | float | bool | np.generic | type(None)):
        yield repr(content).encode("utf-8", "backslashreplace")
    else:  # of other packages, which is read as an empty mapping
        yield b"end of a mapping"
