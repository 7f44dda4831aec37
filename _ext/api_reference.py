"""Sphinx extension: the API reference, read from the modules of cam_utils.

A page says by a line `% modules: cam_utils.methods.cams cam_utils.methods.*` what it documents: a module, or with
`.*` a package and all below it that the line has not named yet. Every module becomes a section with all its public
names: functions and classes by autodoc, fields and constants with their comments. What a package has in its __all__
stands in the section of the package, where it is to be imported from.
"""

import ast
import gc
import inspect
import re
from importlib import import_module
from pathlib import Path

import yaml
from api_sources import Name, definition, documented, imported, known, modules, public, whole_name
from api_text import constructor, parameters, plain, signature
from sphinx import addnodes

PLACE = re.compile(r"^% modules: (.+)$", re.M)
LINES = re.compile(r'(<span class="sig-paren">.</span>\s*)<dl>')
LONGEST = 72  # characters of a value that is shown as the source has it
NO_ADDRESS = ""


def modules_of(line: str) -> list[str]:
    """Return the modules that a page's line names, in its order, each once.

    Raises ValueError for one that does not exist.

    >>> modules_of("cam_utils.names cam_utils.representative.*")[:3]
    ['cam_utils.names', 'cam_utils.representative', 'cam_utils.representative.complementarity']
    """
    found: dict[str, None] = {}
    for entry in line.split():
        name = entry.removesuffix(".*")
        below = [each for each in modules() if each == name or (entry != name and each.startswith(f"{name}."))]
        if not below:
            raise ValueError(f"expected a module of cam_utils in a line '% modules:', got {entry!r}")
        found |= dict.fromkeys(below)
    return list(found)


def fill(app, docname: str, source: list[str]) -> None:
    """Put the sections of its modules in the place of a page's line."""
    address = repository(Path(app.srcdir))
    source[0] = PLACE.sub(lambda line: sections(modules_of(line[1]), address), source[0])


def sections(found: list[str], address: str = NO_ADDRESS) -> str:
    """Return the sections of modules in MyST; the names of all are folded but those of the first that has any."""
    opened = next((module for module in found if documented(module)), None)
    return "\n".join(section(module, address, fold=module != opened) for module in found)


def repository(folder: Path) -> str:
    """Return where the repository's files are shown, or nothing if the book's settings name no repository."""
    settings = yaml.safe_load((folder / "_config.yml").read_text()).get("repository") or {}
    if not settings.get("url"):
        return NO_ADDRESS
    tree = "/-/blob/" if "gitlab" in settings["url"] else "/blob/"
    return settings["url"] + tree + settings.get("branch", "main")


def section(module: str, address: str = NO_ADDRESS, *, fold: bool = False) -> str:
    """Return the section of a module in MyST: its file, docstring and names; of an empty one only the anchor.

    With `fold` the names stand behind a line that lists them.
    """
    names, source, lines = documented(module), modules()[module], []
    made, constants = ([n for n in names if (n.kind == "data") == data] for data in (False, True))
    for name in made:
        lines += [f".. py:currentmodule:: {name.module}", "", *_directive(name)]
    lines += [".. rubric:: Constants", ""] if made and constants else []
    for name in constants:
        lines += [f".. py:currentmodule:: {name.module}", "", *_constant(name)]
    anchor, body = _rst([f".. automodule:: {module}", ""]), _rst(lines) if names else ""
    if not names and not ast.get_docstring(source.tree):
        return anchor
    if fold and names:
        listed = ", ".join(name.name for name in [*made, *constants])
        opening = f'<details class="names">\n<summary>{len(names)} name{"s" * (len(names) > 1)}: {listed}</summary>'
        body = f"{_html(opening)}{body}{_html('</details>')}"
    links = [f'<a href="../_modules/{module.replace(".", "/")}.html">source</a>'] if public(module) else []
    links += [f'<a href="{address}/{source.path}">in the repository</a>'] if address else []
    told = f"Module `{module}`" + (f" ({', '.join(links)})" if links else "")
    return f"## {module.removeprefix('cam_utils.')}\n\n{told}\n{anchor}{body}"


def _rst(lines: list[str]) -> str:
    return "\n".join(["", "```{eval-rst}", *lines, "```", ""])


def _html(text: str) -> str:
    return f"\n```{{raw}} html\n{text}\n```\n"


def _directive(name: Name) -> list[str]:
    """Return autodoc's directive of a function or class; a class also says what it extends, and its fields."""
    lines = [f".. auto{name.kind}:: {name.module}.{name.name}"]
    if name.kind == "class":
        members = public(name.module, name.node.body)
        methods = [each.name for each in members if each.kind != "data" and each.text]
        lines += [f"   :members: {', '.join(methods)}", "   :member-order: bysource"] if methods else []
        here = {each.name for each in public(name.module)}
        ours = [b for b in map(ast.unparse, name.node.bases) if b in here or b in imported(name.module)]
        lines += (
            ["", f"   Extends {', '.join(f':class:`{whole_name(name.module, b)}`' for b in ours)}."] if ours else []
        )
        for field in (each for each in members if each.kind == "data"):
            lines += ["", *(f"   {line}" for line in _variable("attribute", field, _short(field.value)))]
    return [*lines, ""]


def _constant(name: Name) -> list[str]:
    """Return the entry of a constant: its value if that is short, else the names that it holds.

    A value is shown as the source has it, so that no path of the machine that builds the book stands in it.
    """
    value, shown = getattr(import_module(name.module), name.name), _short(name.value)
    if isinstance(value, str | int | float) and not shown:
        shown = _short(repr(value))
    lines = _variable("data", name, shown)
    held = sorted(value) if isinstance(value, set | frozenset) else value
    named = isinstance(held, dict | list | tuple) and all(isinstance(each, str) for each in held)
    if named and any(repr(each) not in shown for each in held):
        kind, told = "Keys" if isinstance(held, dict) else "Values", ", ".join(f"``{each}``" for each in held)
        lines += [f"   {kind}: {told}.", ""]
    return lines


def _short(value: str) -> str:
    return value if len(value) <= LONGEST else ""


def _variable(kind: str, name: Name, value: str) -> list[str]:
    lines = [f".. py:{kind}:: {name.name}"]
    lines += ["   :no-contents-entry:"] if kind == "attribute" else []
    lines += [f"   :type: {name.annotation}"] if name.annotation else []
    lines += [f"   :value: {value}"] if value else []
    return [*lines, "", *(f"   {line}" for line in plain(name.text).splitlines()), ""]


def _node(obj) -> ast.AST | None:
    obj = inspect.unwrap(getattr(obj, "fget", None) or getattr(obj, "func", None) or obj)
    return definition(f"{getattr(obj, '__module__', '')}.{getattr(obj, '__qualname__', '')}")


def show_signature(app, what, name, obj, options, args, returned):
    """Give autodoc the signature of the source: aliases by their names, defaults as they are written.

    A class whose fields are listed has none.
    """
    node = _node(obj)
    if isinstance(node, ast.ClassDef):
        made = constructor(node)
        return (signature(made, bound=True)[0], None) if made else ("", None)
    if node is None:
        return None
    decorators = [ast.unparse(each) for each in node.decorator_list]
    return signature(node, bound=what == "method" and "staticmethod" not in decorators)


def show_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Turn a docstring, which is plain text, into reStructuredText."""
    node = _node(obj) if what != "module" else None
    lines[:] = plain("\n".join(lines).strip("\n"), parameters(node) if node is not None else ()).splitlines()


def settle(app, doctree) -> None:
    """Let references mean what Python would find in the module where they stand, and not any other name like it.

    Of the types in signatures only those of this package are links.
    """
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") != "py" or not node.get("py:module"):
            continue
        whole = whole_name(node["py:module"], node["reftarget"].removeprefix("~"))
        if known(whole):
            node["reftarget"] = whole
            node.attributes.pop("refspecific", None)  # its presence lets Sphinx take any name with this end
        elif _of_signature(node):
            node.replace_self(node.children[:1])


def leave_plain(app, env, node, contnode):
    """Show a type of a signature that no page has without a link; a docstring's reference to nothing is a fault."""
    return contnode if node.get("refdomain") == "py" and _of_signature(node) else None


def bare_signatures(app, pagename, templatename, context, doctree) -> None:
    """Say to who hears a page that the lines of a signature define nothing: Sphinx sets them as definitions."""
    if "body" in context:
        context["body"] = LINES.sub(r'\1<dl role="none">', context["body"])


def _of_signature(node: addnodes.pending_xref) -> bool:
    return "refwarn" not in node  # which every role has


def setup(app) -> dict:
    """Register the steps; autodoc and viewcode are the book's own extensions, in _config.yml."""
    # Nearly all that a build makes lives to its end: looking for garbage less often saves a fifth of its time.
    gc.set_threshold(200_000, 50, 1000)
    app.connect("source-read", fill)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-process-docstring", show_docstring)
    app.connect("doctree-read", settle)
    app.connect("missing-reference", leave_plain)
    app.connect("html-page-context", bare_signatures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
