"""The page about the pack's modules, as Markdown."""

from __future__ import annotations

import ast
import re

from read_imports import PACKAGES, ROOT, topic_edges, topics

HEAD = """# Architecture

Made by `python docs/architecture` from the code's own imports; a test fails where it is out of
date. A new module is put into a topic in
`docs/architecture/read_imports.py` first.

![Three panels of boxes: nodes and cli, which import core, and core](architecture.svg)

An arrow goes from whoever imports. One that a longer way says already is left out of the picture;
the tables have all. `tests/test_house.py` holds the arrows between the packages to what the panels
say. Besides: `stats/` is data, `web/` and `locales/` are what ComfyUI shows, `workflows/` and
`subgraphs/` are graphs, `tiny_host/` is for a throw-away ComfyUI of the demo and the tests.
"""


def page() -> str:
    """The Markdown page: the picture, and a table a package of its topics and modules."""
    edges, parts = topic_edges(), [HEAD]
    for package in PACKAGES:
        parts.append(
            f"\n## {package}/\n\n| topic | module | what it is | imports |\n|---|---|---|---|\n"
        )
        for topic, members in topics().items():
            if not topic.startswith(f"{package}/"):
                continue
            taken = "; ".join(
                t if not t.startswith(package) else t.split("/")[1] for t in sorted(edges[topic])
            )
            for number, member in enumerate(members):
                first, last = (topic.split("/")[1], taken) if number == 0 else ("", "")
                parts.append(
                    f"| {first} | `{member.split('/')[1]}` | {_summary(member)} | {last} |\n"
                )
    return "".join(parts)


def _summary(module: str) -> str:
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    text = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
    return re.sub(r":\w+:`[.~]*([^`]+)`", r"`\1`", text).replace("``", "`").replace("|", "\\|")
