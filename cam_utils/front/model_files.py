"""A model from a reader's own Python file, "FILE.py:NAME", executed as by `import`.

Two projects may both have a utils.py: every file is loaded as part of a package of its own, and the imports that
are written in it look into its folder first. So nothing that Python has imported changes, and an import that runs
only when the model does finds its own project still.
"""

import builtins
import functools
import importlib
import importlib.util
import inspect
import itertools
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

from torch import nn

from cam_utils.names import check_known

PACKAGE = "own_model_"  # begins the names under which the modules of readers' files stand in sys.modules
_count = itertools.count(1)
_lock = threading.RLock()  # sys.path is one for all threads


def split_name(spec: str) -> tuple[str, str] | None:
    """Return (file, name) of "FILE.py:NAME", None for another form.

    >>> split_name("nets/model.py:Models.build"), split_name("resnet18")
    (('nets/model.py', 'Models.build'), None)
    """
    found = re.fullmatch(r"(.*\.py):(.*)", spec, re.DOTALL)
    return (found[1], found[2]) if found else None


def from_file(file: str, name: str) -> nn.Module:
    """Return the module that NAME in a Python file is, or that it returns when it is called without arguments.

    The file may import its neighbours, absolutely or relatively; it is executed anew at each call. name: of a
    class, a function or a module; with dots, of an attribute of one.

    Raises FileNotFoundError, and ValueError, with the reason, for a file or a function that fails, for a name that
    is unknown or needs arguments, and for one that gives something else than an nn.Module.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {file} to read the model {name} from")
    path = path.resolve()
    with _lock, _importable(path.parent):
        with _told(f"{path.name} cannot be executed"):
            module = _imported(path)
        found = _named(module, name, path)
        if not isinstance(found, nn.Module):
            found = _called(found, name, path)
    if not isinstance(found, nn.Module):
        raise ValueError(f"expected {name} of {path.name} to give an nn.Module, got {type(found).__name__}")
    return found


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Tell in one sentence what a reader's code raises, SystemExit of a script that reads options included."""
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{what}: {type(error).__name__}{': ' if reason else ''}{reason}") from error


def _named(module: ModuleType, name: str, path: Path) -> object:
    """Return the object of a (dotted) name; the sentence on an unknown one offers what can give a model."""
    found, where = module, path.name
    for part in name.split("."):
        with _told(f"{part} of {where} cannot be read"):
            there = hasattr(found, part)
        if not there:
            own = vars(found) if hasattr(found, "__dict__") else {}
            known = [key for key, value in own.items() if callable(value) and not key.startswith("_")]
            check_known(f"name in {where}", part, known)
        found, where = getattr(found, part), part
    return found


def _called(found: object, name: str, path: Path) -> object:
    if not callable(found):
        raise ValueError(f"expected {name} of {path.name} to give an nn.Module, got {type(found).__name__}")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        needed = f"{name}() of {path.name} failed without arguments ({error})"
        raise ValueError(f"{needed}: give a function of none") from error
    except ValueError:  # some of C have no signature
        pass
    with _told(f"{name}() of {path.name} failed"):
        return found()


def _imported(path: Path) -> ModuleType:
    """Import a file as part of a new package whose folder is that of its outermost package, or else its own."""
    root, parts = path.parent, []
    while (root / "__init__.py").is_file():
        root, parts = root.parent, [root.name, *parts]
    package = ModuleType(f"{PACKAGE}{next(_count)}")
    package.__path__ = [str(root)]
    sys.modules[package.__name__] = package
    importlib.invalidate_caches()
    folder = ".".join([package.__name__, *parts])  # what the names of the file's neighbours begin with
    _FINDER.imports[package.__name__] = functools.partial(_import, list(dict.fromkeys([package.__name__, folder])))
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    importlib.import_module(folder)
    if path.name == "__init__.py":
        return sys.modules[folder]
    name = f"{folder}.{path.stem.replace('.', '_')}"  # a dot would make a package of it
    if name not in sys.modules:  # its package may have imported it
        spec = importlib.util.spec_from_file_location(name, path, loader=_FINDER.loader(name, str(path)))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _import(folders, name, variables=None, local=None, fromlist=(), level=0):
    """Do what `import` does in a reader's file: look into its own folders first."""
    own = (variables or {}).get("__name__")
    top = name.split(".")[0]
    for folder in folders if level == 0 else ():
        if f"{folder}.{top}" != own and _is_neighbour(folder, top):
            found = builtins.__import__(f"{folder}.{name}", variables, local, fromlist, 0)
            return found if fromlist else sys.modules[f"{folder}.{top}"]
    return builtins.__import__(name, variables, local, fromlist, level)


def _is_neighbour(folder: str, top: str) -> bool:
    """Return whether a name is that of a file's neighbour, and not of what Python finds in this place anyway."""
    spec = PathFinder.find_spec(f"{folder}.{top}", sys.modules[folder].__path__)
    if spec is None:
        return False
    with _lock:
        kept, sys.path[:] = sys.path[:], [each for each in sys.path if not isinstance(each, _Added)]
        try:
            usual = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            usual = None
        finally:
            sys.path[:] = kept
    if spec.origin is None:  # a folder without __init__.py comes after every module of its name
        return usual is None or usual.origin is None
    return usual is None or usual.origin != spec.origin


class _Finder(MetaPathFinder):
    """Finds the modules of the packages of readers' files, and gives them an `import` of their own."""

    def __init__(self) -> None:
        self.imports: dict[str, Callable] = {}  # package -> what stands for __import__ in it

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname.split(".")[0] not in self.imports:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = self.loader(fullname, spec.loader.path)
        return spec

    def loader(self, name: str, path: str) -> "_Loader":
        return _Loader(name, path, self.imports[name.split(".")[0]])


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, imports: Callable) -> None:
        super().__init__(name, path)
        self.imports = imports

    def get_code(self, fullname: str):
        return self.source_to_code(self.get_data(self.path), self.path)  # a compiled file may be of an older text

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.imports}
        super().exec_module(module)


_FINDER = _Finder()


class _Added(str):
    """A folder that stands on sys.path while a file in it is executed."""


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Put a folder on sys.path, for imports by a name that is computed; forget afterwards what came of it."""
    before = set(sys.modules)
    added = _Added(folder)
    sys.path.append(added)  # the last: a library that imports meanwhile must not find a neighbour
    try:
        yield
    finally:
        sys.path[:] = [each for each in sys.path if each is not added]
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            installed = file is None or "site-packages" in Path(file).parts
            if not name.startswith(PACKAGE) and not installed and Path(file).is_relative_to(folder):
                del sys.modules[name]
