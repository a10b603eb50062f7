# SPDX-License-Identifier: Apache-2.0
"""Whether all of pacs.yaml and rules.yaml can work: every part is asked, and what is wrong is said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from clarivox.bundle import BundleInfo
from clarivox.errors import ClarivoxError, OptionError
from clarivox.server.pacs.deliver import Sender
from clarivox.server.pacs.orthanc import checked
from clarivox.server.pacs.rules import load
from clarivox.server.pacs.scu import tls_context
from clarivox.server.pacs.settings import Node, Orthanc, Pacs, Web


@dataclass(frozen=True)
class Finding:
    """One part of the files."""

    part: str
    says: str
    error: ClarivoxError | None = None
    """None where it works."""


def findings(pacs: Pacs, bundles: Sequence[BundleInfo]) -> Iterator[Finding]:
    """Ask every part; what is found is given as soon as it is known.

    Args:
        pacs: pacs.yaml.
        bundles: that rules may name.
    """
    if pacs.dicomweb is not None:
        yield _found("dicomweb", partial(_web, pacs.dicomweb))
    if pacs.node is not None:
        yield _found("node", partial(_node, pacs.node))
    if pacs.orthanc is not None:
        yield _found("orthanc", partial(_orthanc, pacs.orthanc))
    for name, destination in pacs.destinations.items():
        if destination.dicomweb is not None and destination.dicomweb == pacs.dicomweb:
            continue  # asked already
        yield _found(f"destinations.{name}", partial(_destination, Sender(destination, name)))
    yield _found("rules", partial(_rules, pacs, bundles))


def _found(part: str, asked: Callable[[], str]) -> Finding:
    try:
        return Finding(part, asked())
    except ClarivoxError as error:
        return Finding(part, str(error), error)


def _web(web: Web) -> str:
    there = web.client().search("studies", limit=1)
    return "the PACS answers" + ("" if there else ", and shows no study")


def _node(node: Node) -> str:
    if node.tls is not None:
        tls_context(node.tls, server=True)
    if not node.allow:
        raise OptionError("nobody may call: name callers under allow, with ae_title and address", code="bad_pacs_file")
    return f"{node.ae_title} listens on {node.host} port {node.port} for {len(node.allow)} callers"


def _orthanc(orthanc: Orthanc) -> str:
    return f"Orthanc {checked(orthanc)} answers"


def _destination(sender: Sender) -> str:
    sender.check()
    return "answers C-ECHO" if sender.destination.dimse is not None else "answers QIDO-RS"


def _rules(pacs: Pacs, bundles: Sequence[BundleInfo]) -> str:
    if pacs.rules is None:
        if pacs.node is not None or pacs.orthanc is not None:
            raise OptionError("there are no rules: nothing that comes in is enhanced", code="bad_rules")
        return "none, and none are needed"
    found = load(pacs.rules, bundles, tuple(pacs.destinations)).rules
    which = "every one that fits works" if found.every else "the first that fits works"
    return f"{len(found.rules)} rules, of which {which}"
