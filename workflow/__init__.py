"""Around the book: batches of its chapters, its pages, its studies. It works in a checkout of the project."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the project's folder

# jsonschema, which nbformat imports, would compile a grammar of international addresses: more than half of the time
# that importing papermill takes, for a format that no notebook's schema asks for. None is an import that fails.
sys.modules.setdefault("rfc3987_syntax", None)


class RunFailed(RuntimeError):
    """One line that says by itself why a notebook or a run failed."""
