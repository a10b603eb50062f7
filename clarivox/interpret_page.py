# SPDX-License-Identifier: Apache-2.0
"""What `clarivox.interpret` found, as pictures, one HTML page and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clarivox import __version__, page, pictures
from clarivox.interpret import Interpretation, Kernels, Layer, Map
from clarivox.io import atomic

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN_LAYERS = 10
"""Layers of which maps are drawn, evenly spaced; the table has all."""
SIDE = 220
"""Pixels of an enlarged kernel, about."""


@dataclass(frozen=True)
class Drawn:
    """A picture with its file's name, caption and small print."""

    name: str
    caption: str
    more: str
    image: Image


def signed(weights: Map) -> Image:
    """Weights in two colours, blue below 0 and orange above, each a square; the root scale shows faint ones too."""
    rooted = np.sign(weights) * np.sqrt(np.abs(weights))
    return enlarged(pictures.difference(rooted, float(np.abs(rooted).max()) or 1.0))


def grey(values: Map) -> Image:
    """Values from their 0.5 to their 99.5 percentile."""
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    return enlarged(pictures.grey(values, (low, high if high > low else low + 1)))


def enlarged(levels: NDArray[np.uint8]) -> Image:
    """A small picture so large that its pixels can be seen."""
    from PIL import Image

    made = Image.fromarray(levels)
    factor = max(1, SIDE // max(made.size))
    return made.resize((made.width * factor, made.height * factor), Image.Resampling.NEAREST)


def marked(found: Interpretation) -> Image:
    """The part of the picture that was looked at, with a numbered cross at each voxel."""
    from PIL import ImageDraw

    image = grey(found.given).convert("RGB")
    factor = image.width / found.given.shape[0]
    pen = ImageDraw.Draw(image)
    for number, one in enumerate(found.filters, start=1):
        x, y = ((place - part.start + 0.5) * factor for place, part in zip(one.at, found.part, strict=False))
        pen.line((x - 7, y, x + 7, y), fill=(255, 160, 40), width=2)
        pen.line((x, y - 7, x, y + 7), fill=(255, 160, 40), width=2)
        pen.text((x + 8, y + 4), str(number), fill=(255, 160, 40), font_size=14)
    return image


def filters_drawn(found: Interpretation) -> list[Drawn]:
    """The filter at each voxel."""
    drawn = []
    for number, one in enumerate(found.filters, start=1):
        limit = float(np.abs(one.weights).max())
        more = f"{one.weights.shape[0]} px wide, root scale, full colour {limit:.3g}"
        caption = f"{number}: {one.what}, at {', '.join(map(str, one.at))}"
        drawn.append(Drawn(f"filter-{number}", caption, more, signed(one.weights)))
    return drawn


def kernels_drawn(kernels: Kernels) -> Iterator[Drawn]:
    """The first kernels of one predictor, and where the middle tap is strong."""
    name = kernels.layer.replace(".", "-")
    places = kernels.at or ((),)
    for number, (voxel, stack) in enumerate(zip(places, kernels.stacks, strict=True), start=1):
        for channel, weights in list(enumerate(stack))[:8]:
            where = f"voxel {number}" if voxel else "the whole image"
            more = f"sum {weights.sum():.3g}, full colour {np.abs(weights).max():.3g}"
            yield Drawn(f"kernel-{name}-{number}-{channel}", f"{where}, channel {channel}", more, signed(weights))
    if kernels.centre is not None:
        more = f"{kernels.centre.min():.3g} to {kernels.centre.max():.3g}: low where it averages much"
        yield Drawn(f"kernel-{name}-middle", "weight of the voxel itself", more, grey(kernels.centre))


def shown_layers(found: Interpretation) -> list[Layer]:
    """Some layers, evenly spaced, those that compute before those that only bend."""
    able = [layer for layer in found.layers if layer.kind.startswith(("Conv", "OneDnn", "Linear"))] or list(
        found.layers
    )
    step = max(1.0, len(able) / SHOWN_LAYERS)
    return [able[int(index * step)] for index in range(min(len(able), SHOWN_LAYERS))]


def maps_drawn(layer: Layer) -> list[Drawn]:
    """The liveliest maps of a layer."""
    name = layer.name.replace(".", "-")
    return [Drawn(f"map-{name}-{channel}", f"channel {channel}", "", grey(values)) for channel, values in layer.maps]


def verdict(found: Interpretation) -> str:
    """Whether the filters explain the output."""
    if found.without_constants:
        return (
            f"The network has no constants: f(2 x) differs from 2 f(x) by {found.departure:.1e} of the output. At each "
            "voxel below, filter times input equals the output; the largest error is "
            f"{found.worst:.1e} of the output's range."
        )
    return (
        f"The network has constants: f(2 x) differs from 2 f(x) by {found.departure:.1e} of the output. At a voxel it "
        "is affine, a filter plus a constant, which is the remainder below: the filter alone does not give the output. "
        f"The largest remainder is {found.worst:.1e} of the output's range."
    )


def html(found: Interpretation, about: tuple[str, ...]) -> str:
    """The page."""
    rows = [
        [
            f"{number}: {one.what}",
            ", ".join(map(str, one.at)),
            f"{one.output:.5g}",
            f"{one.product:.5g}",
            f"{one.remainder:.2e}",
            f"{one.total:.3g}",
            f"{one.centre:.3g}",
            f"{100 * one.negative:.0f} %",
            f"{one.width_px:.2f}",
            f"{100 * one.others:.0f} %",
        ]
        for number, one in enumerate(found.filters, start=1)
    ]
    columns = [
        "voxel",
        "at",
        "output",
        "filter × input",
        "remainder",
        "sum",
        "own weight",
        "below 0",
        "width, px",
        "other channels",
    ]
    seen = [
        page.figure(marked(found), "input, with the voxels", f"{found.given.shape[0]} × {found.given.shape[1]}"),
        page.figure(grey(found.result), "output", f"{found.result.shape[0]} × {found.result.shape[1]}"),
    ]
    filters = [page.figure(one.image, one.caption, one.more, sharp=True) for one in filters_drawn(found)]
    parts = [
        page.box("The picture", page.panels(seen, few=True)),
        page.box(
            "The filter at each voxel", page.note(verdict(found)), page.panels(filters), page.table(columns, rows)
        ),
    ]
    for kernels in found.kernels:
        drawn = [page.figure(one.image, one.caption, one.more, sharp=True) for one in kernels_drawn(kernels)]
        words = "one for each voxel" if kernels.scope == "local" else "one for the whole image"
        parts.append(page.box(f"Kernels that {kernels.layer} predicts, {words}", page.panels(drawn)))
    for layer in shown_layers(found):
        drawn = [page.figure(one.image, one.caption, sharp=True) for one in maps_drawn(layer)]
        title = f"{layer.name}: {layer.kind}, {' × '.join(map(str, layer.shape))}"
        parts.append(page.box(title, page.panels(drawn)))
    parts.append(page.box("Every layer", page.table(*layer_table(found))))
    return page.document(f"What {found.bundle} does", about, parts, f"clarivox {__version__}")


def layer_table(found: Interpretation) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the statistics of the activations."""
    rows = [
        [
            layer.name,
            layer.kind,
            " × ".join(map(str, layer.shape)),
            f"{layer.mean:.3g}",
            f"{layer.deviation:.3g}",
            f"{layer.smallest:.3g}",
            f"{layer.largest:.3g}",
            f"{100 * layer.zero:.0f} %",
            str(layer.idle),
        ]
        for layer in found.layers
    ]
    return ["layer", "kind", "shape", "mean", "std", "least", "most", "zeros", "idle channels"], rows


def as_dict(found: Interpretation, about: tuple[str, ...]) -> dict[str, Any]:
    """A form that JSON can carry, without the maps."""
    filters = [asdict(one) | {"weights": one.weights.tolist()} for one in found.filters]
    kernels = [
        {"layer": one.layer, "scope": one.scope, "at": one.at, "stacks": [stack.tolist() for stack in one.stacks]}
        for one in found.kernels
    ]
    layers = [{key: value for key, value in vars(layer).items() if key != "maps"} for layer in found.layers]
    return {
        "bundle": found.bundle,
        "about": about,
        "without_constants": found.without_constants,
        "departure": found.departure,
        "part": [[part.start, part.stop] for part in found.part],
        "largest_remainder_of_range": found.worst,
        "filters": filters,
        "kernels": kernels,
        "layers": layers,
    }


def write(found: Interpretation, about: tuple[str, ...], folder: Path, overwrite: bool = False) -> list[Path]:
    """Write index.html, results.json and the pictures.

    Raises:
        OutputError: something is there already, or the folder cannot be written.
    """
    written = []
    texts = {"index.html": html(found, about), "results.json": json.dumps(as_dict(found, about), indent=1) + "\n"}
    for name, text in texts.items():
        with atomic.file(folder / name, overwrite) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(folder / name)
    every = [Drawn("input", "", "", marked(found)), Drawn("output", "", "", grey(found.result)), *filters_drawn(found)]
    every += [one for kernels in found.kernels for one in kernels_drawn(kernels)]
    every += [one for layer in shown_layers(found) for one in maps_drawn(layer)]
    for one in every:
        target = folder / "pictures" / f"{one.name}.png"
        with atomic.file(target, overwrite) as temporary:
            one.image.save(temporary, "PNG")
        written.append(target)
    return written
