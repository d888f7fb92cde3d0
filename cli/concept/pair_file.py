"""A JSON file of concepts by name, each a list of pairs of prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...core.checks import LayerLabError, shortened
from ...core.concept.pairs import require_differing
from ...core.files.file_names import LONGEST, windows_objection

EXAMPLE = '{"smile": [["a smiling woman", "a woman"], ["a smiling cat", "a cat"]]}'
Pairs = list[tuple[str, str]]


class PairFileError(LayerLabError, ValueError):
    """A file of pairs that cannot be used; the message names it, says why, and what to do."""


def read_pairs(path: Path) -> dict[str, Pairs]:
    """The pairs of each concept, (with, without), blanks around the prompts taken off.

    Raises:
        PairFileError: if the file is missing or no such JSON, a name is no name of a file, or a
            concept has no pair, or pairs whose sides are all equal.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
        if not isinstance(document, dict) or not document:
            raise ValueError(f"it is not an object of concepts by name, such as {EXAMPLE}")
        concepts = {name: _pairs(name, given) for name, given in document.items()}
    except OSError as error:
        raise PairFileError(
            f"{path} cannot be read: {error.strerror}; give a JSON file such as {EXAMPLE}"
        ) from error
    except json.JSONDecodeError as error:
        raise PairFileError(
            f"{path} is not JSON: {error.msg} in line {error.lineno}; write it as {EXAMPLE}"
        ) from error
    except UnicodeDecodeError as error:
        raise PairFileError(
            f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    except RecursionError as error:
        raise PairFileError(f"{path} is nested too deeply; write it as {EXAMPLE}") from error
    except ValueError as error:
        raise PairFileError(f"{path}: {error}") from error
    if len({name.casefold() for name in concepts}) < len(concepts):
        raise PairFileError(
            f"{path} has two names that differ in capitals alone, which some systems take for one "
            "file: rename one"
        )
    return concepts


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError where a name comes twice: json keeps the last alone."""
    names = [name for name, _ in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the name {shortened(twice)} comes twice: rename one")
    return dict(members)


def _pairs(name: str, given: Any) -> Pairs:
    """The pairs of one concept, checked."""
    objection = windows_objection(name) or ("/" in name and "it has '/'") or _utf8(name)
    if objection or name.strip(" .") in ("", ".") or len(name.encode()) > LONGEST:
        raise ValueError(
            f"{shortened(name)} cannot be the name of a file"
            f"{f' ({objection})' if objection else ''}: name the concept by letters and digits"
        )
    if not isinstance(given, list) or not given:
        raise ValueError(f"{name!r} is not a list of pairs: write for example {EXAMPLE}")
    pairs = []
    for number, pair in enumerate(given, 1):
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_prompt, pair)):
            raise ValueError(
                f"pair {number} of {name!r} is {shortened(pair)}: write two prompts, [with, "
                "without], neither of them empty"
            )
        pairs.append((pair[0].strip(), pair[1].strip()))
    try:
        require_differing(pairs)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None
    return pairs


def _is_prompt(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip()) and not _utf8(text)


def _utf8(text: str) -> str:
    """Why ``text`` cannot be written as UTF-8; "" if it can."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "it has half of a surrogate pair"
    return ""
