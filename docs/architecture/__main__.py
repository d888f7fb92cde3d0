"""Writes docs/architecture.svg and docs/architecture.md from the imports in the code.

    python docs/architecture

tests/test_architecture.py fails where they and the code differ.
"""

from draw_picture import picture
from read_imports import ROOT
from write_page import page

if __name__ == "__main__":
    (ROOT / "docs" / "architecture.svg").write_text(picture(), encoding="utf-8")
    (ROOT / "docs" / "architecture.md").write_text(page(), encoding="utf-8")
