"""Excerpts that a page shows, compared with what was printed: `…` stands for anything."""

import json
import re
from collections.abc import Iterable

ANYTHING = "…"


def find_missing(language: str, shown: str, printed: str) -> str | None:
    """Return what of an excerpt was not printed, or None if it all was.

    Args:
        language: `text` has lines that come in this order, `json` a document, `http` lines and
            behind an empty one a document.
        shown: the excerpt.
        printed: lines, and at their end the document.
    """
    if language == "json":
        return missing_value(json.loads(shown), last_document(printed))
    head, _, body = shown.partition("\n\n") if language == "http" else (shown, "", "")
    lines = (line.rstrip() for line in printed.splitlines())
    for line in head.strip().splitlines():
        if not any(_is_like(line, found) for found in lines):
            return line
    return missing_value(json.loads(body), last_document(printed)) if body.strip() else None


def last_document(printed: str) -> object:
    """Return the JSON document at the end of what was printed, on one line or on several."""
    lines = printed.strip().splitlines()
    for start in range(len(lines) - 1, -1, -1):
        try:
            return json.loads("\n".join(lines[start:]))
        except ValueError:
            continue
    raise AssertionError(f"no JSON at the end of\n{printed}")


def missing_value(shown: object, found: object, place: str = "") -> str | None:
    """Return the first place of an excerpt that a document has not, or has otherwise.

    A document may have more fields, more elements, and other numbers.
    """
    match shown, found:
        case dict(), dict():
            return _first(
                missing_value(value, found[key], f"{place}/{key}")
                if key in found
                else f"{place}/{key}"
                for key, value in shown.items()
            )
        case list(), list() if len(shown) <= len(found) and (shown or not found):
            pairs = zip(shown, found, strict=False)
            return _first(missing_value(*pair, f"{place}/{n}") for n, pair in enumerate(pairs))
        case str(), str():
            is_equal = _is_like(shown, found)
        case bool(), _:
            is_equal = shown is found
        case ((int() | float()), (int() | float())):
            is_equal = not isinstance(found, bool)
        case _:
            is_equal = shown is None and found is None
    return None if is_equal else f"{place}: {shown!r}, which is {found!r}"


def _first(several: Iterable[str | None]) -> str | None:
    return next((one for one in several if one is not None), None)


def _is_like(shown: str, found: str) -> bool:
    pattern = ".*".join(map(re.escape, shown.split(ANYTHING)))
    return re.fullmatch(pattern, found, re.DOTALL) is not None
