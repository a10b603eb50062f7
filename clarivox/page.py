# SPDX-License-Identifier: Apache-2.0
"""HTML pages that stand alone: one style, boxes, tables, pictures, curves; no script, nothing asked of a server."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clarivox import charts, pictures
from clarivox.policy import policy_source

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = 10
"""Curves beyond so many would repeat a colour; they are left out."""
RESEARCH = (
    '<p class="dim">Research software, not a medical device. An enhanced image can lose or invent detail: decide on '
    "the original.</p>"
)


def document(title: str, facts: Sequence[str], parts: Sequence[str], footer: str = "") -> str:
    """A whole page.

    Args:
        title, facts, footer: plain text.
        parts: HTML, made by the functions of this module.
    """
    template = (importlib.resources.files("clarivox") / "page.html").read_text(encoding="utf-8")
    style = template.split("<style>", 1)[1].split("</style>", 1)[0]
    content = {
        "style_hash": policy_source(style),
        "title": html.escape(title),
        "facts": "".join(f"<li>{html.escape(fact)}</li>" for fact in facts if fact),
        "footer": html.escape(footer),
        "body": "\n".join([*parts, RESEARCH]),
    }
    for name, text in content.items():
        template = template.replace("{{" + name + "}}", text)
    return template


def box(title: str, *parts: str) -> str:
    """A part of a page under a heading."""
    return f'<section class="box scroll"><h2>{html.escape(title)}</h2>{"".join(parts)}</section>'


def note(text: str) -> str:
    """A dim line.

    >>> note("a < b")
    '<p class="dim">a &lt; b</p>'
    """
    return f'<p class="dim">{html.escape(text)}</p>'


def told(title: str, lines: Sequence[str]) -> str:
    """What a reader must know, or nothing."""
    if not lines:
        return ""
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<section class="told"><h2>{html.escape(title)}</h2><ul>{listed}</ul></section>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text, the first column being headings.

    >>> table(["a"], [["x"]])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><th scope="row">x</th></tr></tbody></table>'
    """
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(value)}</td>" for value in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def figure(picture: Image, caption: str, more: str = "", *, sharp: bool = False) -> str:
    """A picture with its caption; `sharp` shows single pixels as squares."""
    small = f" <small>{html.escape(more)}</small>" if more else ""
    kind = ' class="sharp"' if sharp else ""
    return (
        f'<figure{kind}><img src="{pictures.data_uri(picture)}" alt="{html.escape(caption, quote=True)}">'
        f"<figcaption>{html.escape(caption)}{small}</figcaption></figure>"
    )


def panels(figures: Sequence[str], *, few: bool = False) -> str:
    """Pictures beside each other."""
    return f'<div class="panels{" few" if few else ""}">{"".join(figures)}</div>'


def curves(x: NDArray[np.float64], lines: Mapping[str, NDArray[np.float64]], *, x_label: str, y_label: str) -> str:
    """Curves over one axis, each with a colour and its name in a key."""
    shown = list(lines.items())[:COLOURS]
    key = "".join(f'<span class="c{number}">{html.escape(name)}</span>' for number, (name, _) in enumerate(shown))
    drawn = charts.chart(
        x, [charts.Curve(f"c{number}", y) for number, (_, y) in enumerate(shown)], x_label=x_label, y_label=y_label
    )
    return f'<div class="key">{key}</div>{drawn}'
