"""Values as they are written to be read as text, never as markup: one function per place where they may stand.

A value is what comes from a run's record, a table, a file's or folder's name, a class name, an error message. Every
page of workflow/site is made of text of our own and of values that went through one of these functions.
"""

import hashlib
import json
import re
from urllib.parse import quote

from markupsafe import Markup
from markupsafe import escape as _escape
from pygments import lex
from pygments.lexers import get_lexer_by_name
from pygments.token import Error

# Characters that show nothing, that turn the direction of what follows, or that no file can hold.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]")
LONGEST = 80  # characters of a file's name


def visible(text: str) -> str:
    r"""Return the text with every character that could not be seen written out.

    >>> print(visible("a\x1b[0m\ud800"))
    a\x1b[0m\ud800
    """
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(value: object) -> str:
    r"""Return the value as one line of text that can be seen.

    >>> plain(" two\n lines\0")
    'two lines\\x00'
    """
    return visible(" ".join(str(value).split()))


def html(value: object) -> Markup:
    """Return the value as HTML, for the text of a page and for an attribute between quotes alike.

    What is Markup already stays: give its values to `Markup("...").format(...)`, which escapes them.

    >>> print(html('"x" <b>'), html(Markup("<i>{}</i>").format("<")))
    &#34;x&#34; &lt;b&gt; <i>&lt;</i>
    """
    return value if isinstance(value, Markup) else _escape(plain(value))


def url(path: str) -> str:
    """Return a path as the address of a link.

    >>> url('runs/a "b"?#%.html')
    'runs/a%20%22b%22%3F%23%25.html'
    """
    return quote(visible(path), safe="/+")


def prose(text: object) -> str:
    r"""Return a sentence of our own as MyST that reads as this text, within a line or as one.

    >>> print(prose("squeezenet1_0 {x}`y`"), prose("1. - a"), prose("::: b"))
    squeezenet1\_0 \{x\}\`y\` 1\. - a \::: b
    """
    text = re.sub(r"([\\`*_\[\]{}<>#$%|&~^])", r"\\\1", plain(text))
    return re.sub(r"^(\d*)([-+=:(]|[.)](?=\s|$))", r"\1\\\2", text)  # what has a meaning where a line begins


def myst(value: object) -> str:
    r"""Return the value as MyST: a span in which quotes and dashes stay as typed, see _ext/as_text.py.

    >>> print(myst("squeezenet1_0"))
    [squeezenet1\_0]{.value}
    """
    text = prose(value)
    return f"[{text}]{{.value}}" if text else ""


def myst_address(address: str) -> str:
    """Return an address of the web as a link of MyST, shown whole; what is none, a script say, as text.

    >>> print(myst_address("https://example.org/a b"), myst_address("javascript:x()"))
    [`https://example.org/a%20b`](<https://example.org/a%20b>) [javascript:x()]{.value}
    """
    if not re.match(r"https?://", address):
        return myst(address)
    link = quote(plain(address), safe=":/?#[]@!$&()*+,;=%~")
    return f"[`{link}`](<{link}>)"  # as code: the theme would cut the text of a bare one that leads to GitHub


def fenced(head: str, content: str, mark: str = "`") -> str:
    """Return a block of MyST, `head` behind its opening fence, whose end nothing in the content can be.

    >>> print(fenced("{raw} html", "```"))
    ````{raw} html
    ```
    ````
    """
    longest = max(map(len, re.findall(f"{re.escape(mark)}+", content)), default=0)
    fence = mark * max(3, longest + 1)
    return f"{fence}{head}\n{content}\n{fence}"


def code(content: str, language: str) -> str:
    """Return the content as a block of code; in plain colours if it is not fully of that language."""
    content = visible(content)
    if any(kind is Error for kind, _ in lex(content, get_lexer_by_name(language))):
        language = "text"  # Sphinx would warn, and warnings stop the build
    return fenced(language, content)


def script_json(value: object) -> str:
    r"""Return the value as JSON for a script: no text in it ends the script, or opens a comment of HTML.

    >>> print(script_json({"a": "</script><!--\u2028"}))
    {"a":"\u003c/script\u003e\u003c!--\u2028"}
    """
    text = json.dumps(value, separators=(",", ":"))  # ASCII, so U+2028 is written out already
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def file_name(name: str) -> str:
    """Return the name as one that a page's file and its labels may have; a plain one stays.

    Dots stay before digits: elsewhere one begins a suffix. A digest keeps apart what is written alike.

    >>> file_name("ss_cam-lr0.1"), file_name('x" y.md')
    ('ss_cam-lr0.1', 'x_y_md-29ee4d93')
    """
    safe = re.sub(r"_*(?:[^\w+.-]|\.(?!\d))+_*", "_", name).lstrip(".") or "run"
    if safe == name and len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{safe.encode()[:LONGEST].decode(errors='ignore')}-{digest}"
