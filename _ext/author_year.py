"""Sphinx extension: the list of references in the order and by the names that the text cites them with."""

from collections import Counter
from collections.abc import Iterable, Iterator

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting import BaseSortingStyle


class Labels(BaseLabelStyle):
    """Labels such as "David et al., 2022"; works that share one are told apart by a letter behind the year."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        """Yield a label for each entry."""
        labels = [_label(entry) for entry in sorted_entries]
        alike, seen = Counter(labels), Counter()
        for label in labels:
            seen[label] += 1
            yield label + ("abcdefghij"[seen[label] - 1] if alike[label] > 1 else "")


def _label(entry: Entry) -> str:
    parts = [person.rich_prelast_names + person.rich_last_names for person in entry.persons["author"]]
    names = [" ".join(map(str, each)) for each in parts]
    names = names if len(names) < 3 else [f"{names[0]} et al."]
    return f"{' and '.join(names)}, {entry.fields['year']}"


class Sorting(BaseSortingStyle):
    """The order of the labels, works that share one by their titles."""

    def sorting_key(self, entry: Entry) -> tuple[str, str]:
        """Return what an entry is sorted by."""
        return _label(entry).casefold(), entry.fields["title"]


class AuthorYear(Style):
    """The plain style with these labels, sorted by them."""

    default_label_style = Labels
    default_sorting_style = Sorting


def setup(app) -> dict:
    """Register the style as `author_year`."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
