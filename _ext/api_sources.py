"""What the API reference documents: the public names of cam_utils, read from its files."""

import ast
import importlib.util
import io
import re
import tokenize
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

PACKAGE = "cam_utils"


class Source(NamedTuple):
    """A module: its path seen from above the package, its tree, and its comments {line: (text, alone there)}."""

    path: str
    tree: ast.Module
    comments: dict[int, tuple[str, bool]]


class Name(NamedTuple):
    """A public name: "function", "class" or "data" (a constant or a field), with what its source says about it."""

    kind: str
    module: str
    name: str
    node: ast.AST
    text: str  # docstring or comment
    annotation: str = ""
    value: str = ""


@cache
def modules() -> dict[str, Source]:
    """Return all modules by their dotted names, a package before what it holds; private ones are left out."""
    folder = Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0])
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            text = path.read_text()
            found[".".join(parts)] = Source(
                path.relative_to(folder.parent).as_posix(), ast.parse(text), _comments(text)
            )
    return dict(sorted(found.items()))


def _comments(text: str) -> dict[int, tuple[str, bool]]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {
        token.start[0]: (token.string.lstrip("# "), not token.line[: token.start[1]].strip())
        for token in tokens
        if token.type == tokenize.COMMENT and not re.match("# *(fmt|noqa|type|ruff)\\b", token.string)
    }


def public(module: str, body: list[ast.stmt] | None = None) -> list[Name]:
    """Return the names without underscore that a module, or the body of one of its classes, defines, in order."""
    found: dict[str, Name] = {}
    for node in modules()[module].tree.body if body is None else body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            new = [Name(kind, module, node.name, node, ast.get_docstring(node) or "")]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            new = _assigned(module, node)
        else:
            new = []
        # Of several definitions the first: a property stands before its setter.
        found |= {name.name: name for name in new if not name.name.startswith("_") and name.name not in found}
    return list(found.values())


def _assigned(module: str, node: ast.Assign | ast.AnnAssign) -> list[Name]:
    annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
    found = []
    for target in [node.target] if isinstance(node, ast.AnnAssign) else node.targets:
        names, values = [target], [node.value]
        if isinstance(target, ast.Tuple):
            names, values = target.elts, getattr(node.value, "elts", ())
            values = values if len(values) == len(names) else [None] * len(names)
        text = _comment(modules()[module].comments, node)
        for name, value in zip(names, values, strict=True):
            if isinstance(name, ast.Name):
                shown = ast.unparse(value) if value is not None else ""
                found.append(Name("data", module, name.id, node, text, annotation, shown))
    return found


def _comment(comments: dict[int, tuple[str, bool]], node: ast.stmt) -> str:
    """Return the comment of an assignment: the lines right above it, and what stands behind it."""
    above, line = [], node.lineno - 1
    while line in comments and comments[line][1]:
        above.insert(0, comments[line][0])
        line -= 1
    behind = comments.get(node.end_lineno, ("", True))
    return " ".join(above + ([] if behind[1] else [behind[0]]))


@cache
def imported(module: str) -> dict[str, str]:
    """Return what a module imports from this package: {name: whole name}."""
    found = {}
    for node in ast.walk(modules()[module].tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def exported() -> dict[str, str]:
    """Return what packages list in __all__ and define below them: {name in the package: whole name}."""
    found = {}
    for package, source in modules().items():
        if not source.path.endswith("__init__.py"):
            continue
        loaded = import_module(package)
        for name in set(getattr(loaded, "__all__", ())) - {own.name for own in public(package)}:
            home = imported(package).get(name) or f"{getattr(loaded, name).__module__}.{name}"  # given on use
            found[f"{package}.{name}"] = home
    # The front door before what stands on other floors, and explain before all.
    return dict(sorted(found.items(), key=lambda pair: (not pair[1].startswith(f"{PACKAGE}.front."), pair[1])))


def documented(module: str) -> list[Name]:
    """Return what the section of a module shows: the names that are its own and that no package exports, and of a
    package what it exports.
    """
    homes = [home.rpartition(".") for name, home in exported().items() if name.rpartition(".")[0] == module]
    taken = [name for place, _, last in homes for name in public(place) if name.name == last]
    return [*(name for name in public(module) if f"{module}.{name.name}" not in exported().values()), *taken]


def whole_name(module: str, target: str) -> str:
    """Return where that is defined what `target` means in a module, as far as the sources tell.

    >>> whole_name("cam_utils.evaluation.sanity", "Pairs")
    'cam_utils.pairs.Pairs'
    >>> whole_name("cam_utils.pairs", "cam_utils.explain")
    'cam_utils.front.explain.explain'
    """
    first, dot, rest = target.partition(".")
    whole = target if first == PACKAGE else imported(module).get(first, f"{module}.{first}") + dot + rest
    name = next((name for name in exported() if f"{whole}.".startswith(f"{name}.")), whole)
    return exported().get(name, name) + whole.removeprefix(name)


def known(whole: str) -> bool:
    """Return whether a whole name is that of a module, or begins with that of a public name of one."""
    places = [place for place in modules() if f"{whole}.".startswith(f"{place}.")]
    first = whole.removeprefix(max(places, key=len, default="")).strip(".").partition(".")[0]
    return bool(places) and (not first or any(name.name == first for name in public(max(places, key=len))))


def definition(whole: str) -> ast.AST | None:
    """Return the node of a function, class or method by the whole name of where it is defined."""
    module = next((m for m in sorted(modules(), key=len, reverse=True) if whole.startswith(f"{m}.")), None)
    node = modules()[module].tree if module else None
    for part in whole.removeprefix(f"{module}.").split(".") if module else ():
        inner = [n for n in getattr(node, "body", ()) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        node = next((n for n in inner if n.name == part), None)
    return node
