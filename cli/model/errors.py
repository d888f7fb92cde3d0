"""Errors of models on this disk: what transformers raises becomes one sentence with advice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ...core.checks import LayerLabError

REASON_LENGTH = 400

OWN_PACKAGES = {"accelerate", "gguf", "jinja2", "torch", "transformers"}
"""What the pack itself installs: the command says how to install all of it."""

_PACKAGE = r"[`'\"]*([A-Za-z0-9](?:[\w.-]*\w)?)"
_SAYS_WHICH = [
    re.compile(rf"pip3? install (?:-\S+ )*{_PACKAGE}"),
    re.compile(rf"requires (?:the )?{_PACKAGE} library"),
    re.compile(rf"need to have {_PACKAGE} or {_PACKAGE} installed"),
]
"""How transformers words that a package is missing, the surest first."""


class ModelError(LayerLabError, ValueError):
    """A model that cannot be used; the message names it, says why, and what to do."""


@contextmanager
def explained(path: Path, what: str, advice: str) -> Iterator[None]:
    """Turns whatever transformers and its readers raise into one ModelError.

    Where a package is missing, the advice is to install it, not ``advice``. A package of this
    pack's own passes as ModuleNotFoundError: the command says how to install them all.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        package = missing_package(error)
        if package in OWN_PACKAGES and isinstance(error, ModuleNotFoundError):
            raise
        if package is not None:
            raise without_package(path, what, package) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        if len(reason) > REASON_LENGTH:
            reason = reason[:REASON_LENGTH] + " ..."
        raise ModelError(f"{path}: {what}: {reason}. {advice}") from error


def without_package(path: Path, what: str, package: str) -> ModelError:
    """The error of a file that the missing ``package`` would read."""
    return ModelError(
        f"{path}: {what} without the package {package}, which is missing here or too old. Install "
        f"it (python -m pip install -U {package}), or give another file of the same model that "
        "does without"
    )


def missing_package(error: BaseException) -> str | None:
    """The package that ``error`` says is missing, as pip calls it; None for any other error.

    transformers raises ImportError for those that it knows, or a ValueError that has been wrapped
    around one.
    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.partition(".")[0]
    for pattern in _SAYS_WHICH:
        if found := pattern.search(str(error)):
            names = [name.lower() for name in found.groups()]
            absent = [name for name in names if find_spec(name.replace("-", "_")) is None]
            # Of two that would do, one that is here has failed for another reason.
            return names[0] if len(names) == 1 else next(iter(absent), None)
    return None


def readable(name: str) -> str:
    """``name`` as text that any file can hold: what of it is not UTF-8 on the disk is escaped."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
