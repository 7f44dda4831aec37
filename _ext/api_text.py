"""How the API reference shows what the sources say: docstrings as reStructuredText, signatures as written."""

import ast
import re
from collections.abc import Collection

# What keeps its marks in a line of a docstring: roles, quoted code, quoted values, and words with emphasis.
MARKED = re.compile(r'(:[\w:]+:`[^`]+`|`[^`]+`|"[^\s"`]+"|(?<![\w*])\*\w[\w -]*\*(?![\w*]))')
HEADED = re.compile(r"^(?=(?:Args|Attributes|Returns|Raises|Yields):)", re.M)


def plain(text: str, names: Collection[str] = ()) -> str:
    """Return plain text as reStructuredText: `x` as code, paragraphs about the parameters `names` as lists.

    Doctests and indented blocks are kept as they are.

    >>> print(plain("Return |w|_ of `w` * 2.\\n\\nw: [K]. b: more,\\nand more.", ["w", "b"]))
    Return \\|w\\|\\_ of ``w`` \\* 2.
    <BLANKLINE>
    - ``w``: [K].
    - ``b``: more, and more.
    <BLANKLINE>
    """
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith(">>>"):
            blocks.append(block)
        elif block.startswith(" "):
            blocks.append(f"::\n\n{block}")
        elif block.startswith("- "):
            blocks.append(_line(block))
        else:
            blocks += [_paragraph(" ".join(part.split()), names) for part in HEADED.split(block) if part.strip()]
    return "\n\n".join(blocks) + "\n"


def _paragraph(text: str, names: Collection[str]) -> str:
    text = re.sub("^(Args|Attributes): ", "", text)
    known = "|".join(map(re.escape, names))
    item = rf"((?:{known})(?:, (?:{known}))*): "
    if not names or not re.match(item, text):
        return _line(text)
    parts = re.split(rf"(?:^|(?<=[.;)] )){item}", text)[1:]
    told = zip(parts[::2], parts[1::2], strict=True)
    return "\n".join(
        f"- {', '.join(f'``{n}``' for n in who.split(', '))}: {_line(what.strip())}" for who, what in told
    )


def _line(text: str) -> str:
    parts = MARKED.split(text)
    for k, part in enumerate(parts):
        if k % 2 == 0:
            parts[k] = re.sub(r"([*|`\\]|_(?!\w))", r"\\\1", part)
            continue
        if part[0] in '`"':
            part = f"``{part.strip('`')}``"
        elif not part.startswith((":mod:", "*")):  # a link shows the last part of a long name
            part = re.sub(r"`(?=(?:\w+\.){3})", "`~", part)
        # Marks may not touch a word.
        before = "\\ " if re.search(r"[^\s([{<\-/:'\"]$", parts[k - 1]) else ""
        after = "\\ " if re.match(r"[^\s.,:;!?\-/)\]}>'\"]", parts[k + 1]) else ""
        parts[k] = before + part + after
    return "".join(parts)


def parameters(node: ast.AST) -> list[str]:
    """Return the names of a function's parameters, or of a class's fields and of its constructor's parameters."""
    if isinstance(node, ast.ClassDef):
        fields = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign)]
        made = constructor(node)
        return fields + (parameters(made) if made else [])
    given = node.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return [each.arg for each in every if each is not None]


def constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    """Return a class's own constructor."""
    return next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)


def signature(node: ast.FunctionDef, *, bound: bool = False) -> tuple[str, str | None]:
    """Return parameters and returned type as the source has them; without the first parameter if it is `bound`.

    >>> signature(ast.parse("def f(self, a: Float[Tensor, ' n'], *, k=K) -> 'Query': ...").body[0], bound=True)
    ("(a: Float[Tensor, 'n'], *, k=K)", 'Query')
    """
    given = ast.parse(ast.unparse(node.args).join(["def f(", "): ..."])).body[0].args
    if bound:
        (given.posonlyargs or given.args).pop(0)
    for each in ast.walk(given):
        if isinstance(each, ast.arg) and each.annotation is not None:
            each.annotation = _Readable().visit(each.annotation)
    returned = _Readable().visit(ast.parse(ast.unparse(node.returns), mode="eval").body) if node.returns else None
    return f"({ast.unparse(given)})", returned and ast.unparse(returned)


class _Readable(ast.NodeTransformer):
    """Shape strings without the space that a single name needs in the source; names without quotes."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        shape = len(inner) == 2 and isinstance(inner[1], ast.Constant) and isinstance(inner[1].value, str)
        if shape:
            inner[1].value = inner[1].value.strip()
            return node
        return node if ast.unparse(node.value).endswith("Literal") else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node
