"""The rules, written in Markdown, as HTML that can hold nothing but text and safe links."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markupsafe import Markup

_RELATIVE = re.compile(r"(?!//)[\w./#-]+")  # no scheme: no colon


def render(text: str) -> Markup:
    """Markdown to HTML: no HTML of its own, and links only to https and to files beside it."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.validateLink = _trusted  # type: ignore[method-assign]  # the hook that markdown-it-py documents
    return Markup(parser.render(text))  # safe: the parser escapes all text, and lets no HTML through


def _trusted(url: str) -> bool:
    return url.startswith("https://") or bool(_RELATIVE.fullmatch(url))
