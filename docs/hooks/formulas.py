"""Formulas become MathML while the site is built: browsers draw it by themselves, without a script or a font."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)


def on_page_content(text: str, **_: object) -> str:
    """What arithmatex marked, drawn."""
    text = _BLOCK.sub(lambda found: f'<div class="formula">{_drawn(found[1], "block")}</div>', text)
    return _INLINE.sub(lambda found: _drawn(found[1], "inline"), text)


def _drawn(latex: str, display: str) -> str:
    return convert(html.unescape(latex).strip(), display=display)
