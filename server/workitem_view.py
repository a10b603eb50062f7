# SPDX-License-Identifier: Apache-2.0
"""Work items as a client sees them, with the series of their jobs; and the jobs that clients ask for."""

from __future__ import annotations

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from clarivox.errors import BundleError, ConflictError, InputError, NotFoundError
from clarivox.server import workitem_words as words
from clarivox.server.auth import Caller
from clarivox.server.deps import Services
from clarivox.server.intake import PARAMS, by_reference, check_room, from_pacs, new_job, validated
from clarivox.server.job import Job, NewJob, Role
from clarivox.server.pacs.settings import OWN
from clarivox.server.schemas import JobRequest
from clarivox.server.series_files import series_of
from clarivox.server.workitem_words import Dataset
from clarivox.server.worklist import Item

SERIES = frozenset({words.INPUTS, words.PERFORMED, words.OUTPUTS})
"""What takes a look into an index."""
_PATIENT = ("00100010", "00100020", "00100030", "00100040", "00080050")


def shown(parts: Services, item: Item, address: str, *, series: bool) -> Dataset:
    """What a work item says.

    Args:
        parts: of the server.
        item: to show.
        address: where addresses of objects begin.
        series: also which series were read and made.
    """
    dataset = item.dataset()
    if item.job is None:
        return dataset
    if not item.said:
        dataset |= patient_of(parts, item.job)
    try:
        source, derived = series_of(parts, item.job) if series else (None, None)
    except NotFoundError:
        source = derived = None
    if source is not None and derived is not None:
        made = words.referring(derived.study, derived.uid, address)
        if not item.said:
            dataset[words.INPUTS] = words.element("SQ", words.referring(source.study, source.uid, address))
        performed = {**words.items(dataset, words.PERFORMED)[0], words.OUTPUTS: words.element("SQ", made)}
        dataset[words.PERFORMED] = words.element("SQ", performed)
    return dataset


def patient_of(parts: Services, job: Job) -> Dataset:
    """Whose images a job was about, where its index says it."""
    index = next((one for one in job.results if one.role == Role.INDEX), None)
    known = parts.dicom.of_index(index.sha256) if index is not None else []
    few = known[0].few if known else {}
    return {tag: few[tag] for tag in _PATIENT if tag in few}


def asked_job(
    parts: Services, caller: Caller, request: Request, said: Dataset
) -> tuple[NewJob, tuple[str, ...]] | None:
    """The job that a new work item asks for, and where its result goes; None where it names no bundle.

    Raises:
        InputError: a bundle or parameter is unknown, or not one series that is here is named; code bad_workitem.
        ServiceError: the server stops; or the PACS does not answer.
    """
    bundle = next(filter(None, map(words.code_of, words.items(said, words.CODES))), None)
    if bundle is None:
        return None
    check_room(parts, caller, request)
    named = words.series_of(said)
    if len(named) != 1:
        raise words.bad(f"a work item for a bundle names one series as its input; found {len(named)}")
    given = words.parameters_of(said)
    params = {name: given.pop(name) for name in sorted(PARAMS & given.keys())} | {"options": given}
    wish = {"bundle": bundle, "params": params, "priority": words.PRIORITIES[words.text(said, words.PRIORITY)]}
    wish |= {"series_uid": named[0], "deliver": [OWN] if parts.archive is not None else []}
    try:
        wanted = validated(JobRequest, wish, "body")
        asked = from_pacs(parts, wanted) if parts.archive is not None else by_reference(parts, caller, wanted)
        return new_job(asked, parts, caller, request), asked.deliver
    except RequestValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][1:])
        raise words.bad(f"{where}: {error.errors()[0]['msg']}") from None
    except (BundleError, ConflictError, InputError, NotFoundError) as error:
        raise words.bad(str(error)) from None
