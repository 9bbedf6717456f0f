"""What every page of HTML must be."""

from __future__ import annotations

import html.parser


class Tags(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects what they load.

    Attributes
    ----------
    open : list of str
        Elements that are not closed.
    sources : list of str
        Addresses that elements load or lead to.
    """

    VOID = ("meta", "link", "img", "input", "line", "circle", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attributes if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag
