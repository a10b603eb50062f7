# SPDX-License-Identifier: Apache-2.0
"""What a job of enhancement does: read in the child, enhance here, write in the child, publish."""

from __future__ import annotations

import math
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clarivox.errors import CapacityError, ClarivoxError, FormatError, InputError
from clarivox.server.child_link import Nursery, limits_of, rebuilt, result_path
from clarivox.server.dicom_store import record
from clarivox.server.inputs import checked, grid_of, laid_out, placed
from clarivox.server.job import FileRef, Outcome, Role, State
from clarivox.server.pace import foretold, remember, scarce
from clarivox.server.task import Task

if TYPE_CHECKING:
    from clarivox.bundle import Bundle, Shelf
    from clarivox.server.blobs import Blobs
    from clarivox.server.ledger import Ledger
    from clarivox.server.settings import Settings
    from clarivox.volume import Volume

DICOM_MEDIA = ("application/dicom", "application/zip", "application/octet-stream")
"""What DICOM files come as."""


@dataclass
class Shop:
    """What the jobs of one worker share."""

    settings: Settings
    ledger: Ledger
    blobs: Blobs
    shelf: Shelf
    nursery: Nursery
    device: str
    """As torch names it: cpu, cuda:0."""
    device_name: str


@dataclass(frozen=True)
class Enhanced:
    """One volume that was enhanced, in a file of the job's folder."""

    number: int
    """Among those that the child keeps."""
    place: int
    """Among all of the input."""
    facts: dict[str, Any]


@dataclass
class Tale:
    """What is to be said of a job at its end."""

    notes: list[str]
    degradations: list[str]
    errors: list[ClarivoxError]

    def note(self, text: str) -> None:
        """Keep a note once."""
        if text not in self.notes:
            self.notes.append(text)


def prepare(task: Task, shop: Shop) -> None:
    """Make the job's folder, start its child, and let it read the inputs.

    Raises:
        ClarivoxError: the inputs cannot be read.
        CancelledError: the work has to stop.
    """
    started = time.monotonic()
    task.enter("read")
    shutil.rmtree(task.folder, ignore_errors=True)
    task.room.mkdir(parents=True, mode=0o700)
    source, like = laid_out(task.job, task.folder, shop.blobs)
    params = task.job.params
    task.child = shop.nursery.child(task.room, readable=[task.folder])
    order = {
        "do": "read",
        "source": str(source),
        "series": params.get("series"),
        "allow_uneven": params.get("allow_uneven", False),
        "limits": limits_of(shop.settings),
    }
    size = sum(file.bytes for file in task.job.inputs)
    task.found = checked(task.child.call(order, task.share(0, 1), size_bytes=size))
    task.metrics |= {"read_s": round(time.monotonic() - started, 3), "input_bytes": size}
    task.metrics["like"] = str(like or "")
    task.metrics |= grid_of(task.found)


def enhance(task: Task, shop: Shop) -> Outcome:
    """The rest of a job that was read: enhance each volume, write, publish.

    Raises:
        ClarivoxError: no volume could be enhanced, or the results not be written.
        CancelledError: the work has to stop.
    """
    tale = Tale([], [], [])
    bundle = loaded(task, shop, tale)
    started = time.monotonic()
    done = enhanced(task, shop, bundle, tale)
    if not done:
        raise tale.errors[0]
    task.metrics |= {"enhance_s": round(time.monotonic() - started, 3), "volumes": len(task.found)}
    remember(task, shop)
    task.metrics |= {"enhanced": len(done), "failed": len(tale.errors)}
    files = written(task, shop, done, tale)
    results = published(task, shop, files)
    task.metrics.pop("like", None)
    return Outcome(State.SUCCEEDED, results, tuple(tale.notes), tuple(tale.degradations), task.metrics)


def loaded(task: Task, shop: Shop, tale: Tale) -> Bundle:
    """The job's bundle, from memory where it was used lately.

    Raises:
        ClarivoxError: there is no such bundle, it is damaged, or the options do not fit it any more.
    """
    task.enter("load")
    started = time.monotonic()
    bundle = shop.shelf.load(task.job.bundle, **task.job.params.get("options", {}))
    wanted = task.job.bundle_version
    if wanted and wanted != bundle.info.version:
        tale.note(f"asked of version {wanted} of the bundle, done by version {bundle.info.version}")
    task.metrics["load_s"] = round(time.monotonic() - started, 3)
    if scarce(shop.device) and shop.shelf.keep_only(bundle):
        degraded(task, shop, tale, f"little memory on {shop.device}: other networks were unloaded")
    task.alive()
    return bundle


def degraded(task: Task, shop: Shop, tale: Tale, text: str) -> None:
    """Keep one step of the out-of-memory ladder, also in the job's history."""
    if text not in tale.degradations:
        tale.degradations.append(text)
        with suppress(ClarivoxError):  # the outcome carries it too
            shop.ledger.note(task.job.id, task.job.attempt, "degraded", {"text": text})


def enhanced(task: Task, shop: Shop, bundle: Bundle, tale: Tale) -> list[Enhanced]:
    """Each volume enhanced, in a file of its own; what is wrong with one of several does not stop the others."""
    task.enter("enhance")
    task.eta_s = foretold(task, shop)
    done, several = list[Enhanced](), len(task.found)
    number = 0
    for place, one in enumerate(task.found):
        try:
            if "error" in one:
                raise rebuilt(one["error"])
            number += 1
            done.append(enhanced_one(task, shop, bundle, Enhanced(number - 1, place, one["volume"]), tale))
        except ClarivoxError as error:
            task.alive()
            # A text file beside the images is no failure.
            if one.get("foreign"):
                tale.errors.append(error)
            else:
                tale.errors.insert(0, error)
            if several > 1:
                tale.note(f"image {place + 1} of {several} was left out: {error} [{error.code}]")
    return done


def enhanced_one(task: Task, shop: Shop, bundle: Bundle, given: Enhanced, tale: Tale) -> Enhanced:
    """One volume, by the one path.

    Raises:
        ClarivoxError: it cannot be enhanced.
    """
    from clarivox import enhance as one_path
    from clarivox.server import child_volume

    params, volume = task.job.params, child_volume.unpack(given.facts, task.room)
    try:
        result = one_path.enhance(
            volume,
            bundle,
            device=shop.device,
            engine=params.get("engine", "torch") if shop.device == "cpu" else "torch",
            strength=params.get("strength", 1.0),
            allow_uneven=params.get("allow_uneven", False),
            force=params.get("force", False),
            progress=task.share(given.place, len(task.found)),
        )
    except MemoryError as cause:
        raise CapacityError("the volume takes more memory than the server has", code="no_memory") from cause
    tell_of(task, shop, volume, result, tale)
    facts = child_volume.pack(result, task.room, f"out-{given.place:03d}.raw")
    task.alive()
    return Enhanced(given.number, given.place, facts)


def tell_of(task: Task, shop: Shop, before: Volume, after: Volume, tale: Tale) -> None:
    """Keep what the reader and the run had to say, each step back of the run also in the job's history."""
    made = after.provenance
    if made is None:
        return
    for note in (*before.notes, *made.notes):
        tale.note(note)
    for text in made.steps_back:
        degraded(task, shop, tale, text)
    voxels = math.prod(after.shape)
    for name, value in (("windows", made.windows), ("clipped_voxels", made.clipped_voxels), ("voxels", voxels)):
        task.metrics[name] = task.metrics.get(name, 0) + value
    task.metrics |= {"device": made.device, "engine": made.engine}


def written(task: Task, shop: Shop, done: list[Enhanced], tale: Tale) -> list[dict[str, Any]]:
    """Files that the child wrote, as it names them.

    Raises:
        ClarivoxError: a result cannot be written.
    """
    task.enter("write")
    started = time.monotonic()
    if task.child is None:
        raise FormatError("the process that reads the input is gone", code="reader_failed")
    params = task.job.params
    order = {
        "do": "write",
        "volumes": [(one.number, one.place, one.facts) for one in done],
        "as": params.get("as"),
        "like": task.metrics.get("like", ""),
        "report": params.get("report", True),
        "deidentify": shop.settings.deidentify,
        "keep_private": list(shop.settings.keep_private),
        "limits": limits_of(shop.settings),
    }
    size = sum(math.prod(one.facts["shape"]) * 8 for one in done)
    answer = task.child.call(order, task.share(0, 1), size_bytes=size)
    try:
        for note in answer["notes"]:
            tale.note(str(note)[:2000])
        files = [{key: str(one[key]) for key in ("role", "path", "media", "name")} for one in answer["files"]]
        task.metrics["figures"] = {
            str(one["name"])[:40]: {
                "before": one["before"],
                "after": one["after"],
                "unit": str(one["unit"])[:20],
                "how": str(one["how"])[:120],
            }
            for one in answer["figures"]
        }
    except (KeyError, TypeError) as cause:
        raise FormatError("the writing process answers nonsense", code="bad_handover") from cause
    task.metrics["write_s"] = round(time.monotonic() - started, 3)
    return files


def published(task: Task, shop: Shop, files: list[dict[str, Any]]) -> tuple[FileRef, ...]:
    """Put files into the store; they count only when the ledger says that the job is done.

    Raises:
        FormatError: a file is not where the child says (code bad_handover).
        CapacityError: the disk is full.
    """
    task.enter("publish")
    found = []
    for one in files:
        found.append(stored(task, shop, one["path"], Role(one["role"]), one["media"], one["name"]))
    if shop.settings.dicom_web:
        found += indexed(task, shop, found)
    return tuple(found)


def stored(task: Task, shop: Shop, path: str, role: Role, media: str, name: str) -> FileRef:
    """Put one file of the job's folder into the store.

    Raises:
        FormatError: it is not where the child says (code bad_handover).
        CapacityError: the disk is full.
    """
    sha256, size = shop.blobs.put_file(result_path(task.room, path))
    task.alive()
    return FileRef(role, sha256, size, media, name)


def indexed(task: Task, shop: Shop, results: list[FileRef]) -> list[FileRef]:
    """The index of the DICOM files among inputs and results, for the routes of DICOMweb; none where there are none.

    Raises:
        CancelledError: the work has to stop.
        CapacityError: the disk is full.
    """
    files = [file for file in (*task.job.inputs, *results) if file.role in (Role.INPUT, Role.RESULT)]
    if task.child is None or not any(file.media in DICOM_MEDIA for file in files):
        return []
    place = task.folder / "stored"
    place.mkdir()
    sources = []
    for number, file in enumerate(files):
        placed(shop.blobs.path(file.sha256), place / f"{number:06d}")
        sources.append((file.sha256, str(place / f"{number:06d}")))
    order = {"do": "index", "sources": sources, "limits": limits_of(shop.settings)}
    size = sum(file.bytes for file in files)
    try:
        found = task.child.call(order, task.share(0, 1), size_bytes=size)
        path = found.get("path") if isinstance(found, dict) else ""
        if not path:
            return []
        index = stored(task, shop, path, Role.INDEX, "application/octet-stream", "index.bin")
        record(shop.ledger, task.job.id, index.sha256, task.room / path, [sha256 for sha256, _ in sources])
    except InputError:
        return []  # a job does not fail because viewers cannot be shown its files
    return [index]


def cleared(task: Task) -> None:
    """End the child, and delete the folder."""
    if task.child is not None:
        task.child.close()
        task.child = None
    shutil.rmtree(task.folder, ignore_errors=True)
