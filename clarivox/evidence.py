# SPDX-License-Identifier: Apache-2.0
"""One HTML page that shows what an enhancement changed: pictures, curves, figures, parameters, versions.

The page stands alone: it asks no server for anything, and a content security policy forbids it to. It holds no name,
identifier, date or description of the patient; the pictures themselves may show what is burnt into them.
"""

from __future__ import annotations

import html
import importlib.metadata
import importlib.resources
import math
import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clarivox import __version__, charts, metrics, pictures
from clarivox.compare import Comparison, Figure, compare, spread
from clarivox.io import atomic
from clarivox.matching import matched, picture
from clarivox.orientation import View, view
from clarivox.policy import policy_source
from clarivox.volume import Axis, Unit, Volume

SHOWN_SLICES = 5
"""More would make the page larger than a mail can carry."""
_VERSIONS = ("torch", "monai", "pydicom", "numpy")
_READING = (
    '<div class="reading"><h3>How to read the difference</h3><p>Noise without form is what should have gone. Edges, '
    "vessels or shapes in it are detail that was moved, weakened or made up: look there in before.</p></div>"
)
_BETTER = {"higher": "more is better", "lower": "less is better"}


class Slice(NamedTuple):
    """One slice as it was, is, and should be, each shape (X, Y), in the unit."""

    z: int
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    truth: NDArray[np.float32] | None


def page(
    before: Volume, after: Volume, reference: Volume | None = None, *, comparison: Comparison | None = None
) -> str:
    """The page as HTML.

    Args:
        before: the original.
        after: the enhanced one; what its `provenance` says is printed.
        reference: the truth, where it is known.
        comparison: figures taken before, so that they need not be taken twice.

    Raises:
        GeometryError: the volumes do not show one place.
    """
    found = comparison or compare(before, after, reference)
    shown = [
        Slice(
            z, matched(before, after, z), picture(after, z), None if reference is None else matched(reference, after, z)
        )
        for z in spread(after.shape[3], SHOWN_SLICES)
    ]
    template = (importlib.resources.files("clarivox") / "evidence.html").read_text(encoding="utf-8")
    style, script = (_between(template, f"<{tag}>", f"</{tag}>") for tag in ("style", "script"))
    middle = shown[len(shown) // 2]
    limit = pictures.difference_limit([one.after - one.before for one in shown])
    parts = {
        "style_hash": policy_source(style),
        "script_hash": policy_source(script),
        "title": html.escape(_title(after)),
        "facts": _facts(before, after),
        "headline": _headline(found, finer=before.shape != after.shape),
        "panels": _panels(shown, found, limit, after),
        "edges": _edges(view(after)),
        "slices": _slice_buttons(shown, after),
        "histogram": _histogram(shown, found),
        "profile": _profile(middle, found, after),
        "figures": _figures(found),
        "parameters": _parameters(after),
        "notes": _notes(before, after, found),
        "versions": _versions(),
        "truth_class": "with-truth" if reference is not None else "",
    }
    for name, content in parts.items():
        template = template.replace("{{" + name + "}}", content)
    return template


def write_page(
    path: Path | str,
    before: Volume,
    after: Volume,
    reference: Volume | None = None,
    *,
    comparison: Comparison | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page to a file.

    Raises:
        OutputError: the file exists (code output_exists) or cannot be written.
        GeometryError: the volumes do not show one place.
    """
    target = Path(path)
    with atomic.file(target, overwrite) as temporary:
        temporary.write_text(page(before, after, reference, comparison=comparison), encoding="utf-8")
    return target


def _between(text: str, start: str, stop: str) -> str:
    return text.split(start, 1)[1].split(stop, 1)[0]


def _title(after: Volume) -> str:
    made = after.provenance
    return f"{after.modality or 'Image'}: {made.bundle if made else 'before and after'}"


def _facts(before: Volume, after: Volume) -> str:
    def size(volume: Volume) -> str:
        _, x, y, z = volume.shape
        return f"{x} × {y} × {z}"

    third = "frames" if after.third_axis is Axis.TIME else "slices"
    sides = size(before) if size(before) == size(after) else f"{size(before)} → {size(after)}"
    spacing = " × ".join(f"{mm:.3g}" for mm in after.spacing_mm[: 2 if third == "frames" else 3])
    words = [f"{sides} (columns × rows × {third})", f"{spacing} mm", _unit(after.unit)]
    return "".join(f"<li>{html.escape(word)}</li>" for word in words if word)


def _headline(found: Comparison, *, finer: bool = False) -> str:
    """Four figures as large numbers; likeness to before is no merit, so it counts only against a truth.

    On a finer grid, before was interpolated, which has no noise at the finest scale: nothing can be said of it.
    """
    cards = []
    # Air around the patient flatters the figure of the whole picture.
    best = "PSNR, foreground" if any(f.name == "PSNR, foreground" for f in found.figures) else "PSNR"
    wanted: tuple[str, ...] = (best, "SSIM", "noise", "CNR", "edge sharpness", "MAE")
    if found.figures[0].before is None:
        wanted = ("edge sharpness", "voxels changed", "largest change", "MAE")
        wanted = wanted if finer else ("noise", "CNR", *wanted)
    for figure in sorted((f for f in found.figures if f.name in wanted), key=lambda f: wanted.index(f.name))[:4]:
        was = "" if figure.before is None else f'<span class="was">{_number(figure.before)} →</span> '
        cards.append(
            f'<div class="card"><h3>{html.escape(figure.name)}</h3><p class="big {_verdict(figure)}">{was}'
            f"{_number(figure.after)}<small> {_unit(figure.unit)}</small></p>"
            f'<p class="how">{html.escape(figure.how)}</p></div>'
        )
    return "".join(cards)


def _panels(shown: list[Slice], found: Comparison, limit: float, after: Volume) -> str:
    """Before, after, difference and truth, each with a picture for every slice."""
    lies = view(after)
    aspect = after.spacing_mm[1] / after.spacing_mm[0]
    aspect = 1 / aspect if lies.swapped else aspect
    unit = f" {_unit(found.unit)}".rstrip()
    captions = {
        "before": "Before",
        "after": "After",
        "difference": f"Difference <small>blue −{limit:.3g}, orange +{limit:.3g}{unit}</small>",
        "truth": "Truth",
    }
    panels = []
    for name, caption in captions.items():
        images = []
        for number, one in enumerate(shown):
            if name == "difference":
                levels = pictures.difference(one.after - one.before, limit)
            else:
                values = getattr(one, name)
                if values is None:
                    continue
                levels = pictures.grey(values, found.window, inverted=after.inverted)
            source = pictures.data_uri(pictures.on_screen(lies.turned(levels), aspect))
            hidden = "" if number == len(shown) // 2 else " hidden"
            images.append(f'<img src="{source}" alt="{name}, slice {one.z + 1}" data-slice="{number}"{hidden}>')
        if images:
            panels.append(
                f'<figure class="panel" data-panel="{name}"><div>{"".join(images)}</div>'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    if len(panels) == 3:
        panels.append(_READING)
    return "".join(panels)


def _edges(lies: View) -> str:
    """Letters at the edges of the large picture."""
    places = ("west", "east", "north", "south")
    return "".join(
        f'<span class="edge {place}">{letter}</span>' for place, letter in zip(places, lies.edges, strict=False)
    )


def _slice_buttons(shown: list[Slice], after: Volume) -> str:
    word = "frame" if after.third_axis is Axis.TIME else "slice"
    buttons = [
        f'<button type="button" data-slice="{number}" aria-pressed="{str(number == len(shown) // 2).lower()}">'
        f"{word} {one.z + 1}</button>"
        for number, one in enumerate(shown)
    ]
    return "".join(buttons) if len(buttons) > 1 else ""


def _histogram(shown: list[Slice], found: Comparison) -> str:
    """How often each value occurs in the window, air and full white left out."""
    low, high = found.window
    margin = (high - low) * 0.01
    step = (high - low - 2 * margin) / 96
    if all((one.before % 1 == 0).all() for one in shown):
        # Bins that hold unlike numbers of whole values would draw a comb.
        step, low = math.ceil(step), math.ceil(low) - 0.5
    edges = np.arange(low + margin, high - margin + step, step)
    curves = []
    for name in ("before", "after", "truth"):
        values = [getattr(one, name) for one in shown]
        if values[0] is None:
            continue
        counts = metrics.histogram(np.stack(values), (float(edges[0]), float(edges[-1])), len(edges) - 1).counts
        curves.append(charts.Curve(name, counts.astype(np.float64), filled=name == "after"))
    return charts.chart(
        (edges[:-1] + edges[1:]) / 2, curves, x_label=_axis(found.unit), y_label="voxels, root scale", root=True
    )


def _profile(one: Slice, found: Comparison, after: Volume) -> str:
    """Values along a line across the steepest edge of the slice."""
    base = one.before if one.truth is None else one.truth
    x, y, along_x = steepest(np.clip(base, *found.window))
    side = base.shape[0 if along_x else 1]
    if side < 2:
        return "<p>The picture is too small for a profile.</p>"
    middle = x if along_x else y
    reach = min(24, side // 2)
    start = max(0, min(middle - reach, side - 2 * reach - 1))
    line = slice(start, min(side, start + 2 * reach + 1))
    spacing = after.spacing_mm[0 if along_x else 1]
    curves = []
    for name in ("before", "after", "truth"):
        values = getattr(one, name)
        if values is not None:
            cut = values[line, y] if along_x else values[x, line]
            curves.append(charts.Curve(name, cut.astype(np.float64)))
    distance = (np.arange(len(curves[0].y)) - (middle - start)) * spacing
    return charts.chart(distance, curves, x_label="distance from the edge (mm)", y_label=_axis(found.unit))


def steepest(values: NDArray[np.float32]) -> tuple[int, int, bool]:
    """Where a picture (X, Y) is steepest over 5 px, and whether along X.

    >>> step = np.zeros((32, 32), np.float32)
    >>> step[20:] = 1
    >>> steepest(step)[2]
    True
    """
    if min(values.shape) < 16:
        return values.shape[0] // 2, values.shape[1] // 2, True
    margin = min(values.shape) // 8
    across = np.abs(values[4:, 2:-2] - values[:-4, 2:-2])
    down = np.abs(values[2:-2, 4:] - values[2:-2, :-4])
    steps = []
    for step, axis in ((across, 1), (down, 0)):
        # A real edge is steep over its neighbours too; single noisy pixels are not.
        smooth = sum(np.roll(step, shift, axis) for shift in (-2, -1, 0, 1, 2))
        steps.append(np.asarray(smooth)[margin:-margin, margin:-margin])
    along_x = bool(steps[0].max() >= steps[1].max())
    chosen = steps[0] if along_x else steps[1]
    x, y = np.unravel_index(int(np.argmax(chosen)), chosen.shape)
    return int(x) + margin + 2, int(y) + margin + 2, along_x


def _figures(found: Comparison) -> str:
    return "".join(_row(figure) for figure in found.figures)


def _row(figure: Figure) -> str:
    before = "" if figure.before is None else _number(figure.before)
    how = "; ".join(part for part in (figure.how, _BETTER.get(figure.better, "")) if part)
    return (
        f'<tr><th scope="row">{html.escape(figure.name)}</th><td>{before}</td>'
        f'<td class="{_verdict(figure)}">{_number(figure.after)}</td>'
        f"<td>{_unit(figure.unit)}</td><td>{html.escape(how)}</td></tr>"
    )


def _verdict(figure: Figure) -> str:
    """good, bad, or "" where neither can be said."""
    if figure.before is None or not figure.better or figure.after == figure.before:
        return ""
    return "good" if (figure.after > figure.before) == (figure.better == "higher") else "bad"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "—"
    text = f"{value:.4g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"
    return text.replace("-", "−")


def _unit(unit: str) -> str:
    """A unit to print behind a number; arbitrary units have none."""
    return "" if unit == Unit.RELATIVE else html.escape(unit)


def _axis(unit: str) -> str:
    return "value" if unit == Unit.RELATIVE else f"value ({unit})"


def _parameters(after: Volume) -> str:
    made = after.provenance
    if made is None:
        return "<dt>enhanced by</dt><dd>not known: the file does not say</dd>"
    rows = {
        "bundle": f"{made.bundle} {made.version}",
        "digest": f"SHA-256 {made.digest[:16]}…",
        "task": made.task,
        "strength": f"{made.strength:g}",
        **{f"option {name}": str(value) for name, value in made.options.items()},
        "device": made.device,
        "engine": made.engine,
        "run time": f"{made.seconds:.2f} s",
        "windows": f"{made.windows}, {made.redundancy:.2f} voxels computed for each",
        "clipped voxels": str(made.clipped_voxels),
    }
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows.items())


def _notes(before: Volume, after: Volume, found: Comparison) -> str:
    made = after.provenance.notes if after.provenance else ()
    every = dict.fromkeys([*before.notes, *made, *found.notes])
    if not every:
        return ""
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in every)
    return f'<section class="told" aria-label="To know"><h2>To know</h2><ul>{listed}</ul></section>'


def _versions() -> str:
    words = [f"clarivox {__version__}", f"Python {platform.python_version()}"]
    for name in _VERSIONS:
        try:
            words.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return html.escape(" · ".join(words))
