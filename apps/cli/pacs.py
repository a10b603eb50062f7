# SPDX-License-Identifier: Apache-2.0
"""`clarivox pacs`: studies from a PACS to a server and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.cli.enhance import parsed
from clarivox.cli.pacs_listen import listen
from clarivox.cli.screen import complain, say, table, watched
from clarivox.cli.submit import SERVER, Authority, Key, Options, Server, Strength
from clarivox.errors import CancelledError, ClarivoxError
from clarivox.progress import Step

if TYPE_CHECKING:
    from clarivox.server.pacs.web import DicomWeb

pacs = typer.Typer(no_args_is_help=True, help="Studies from a PACS to a server and back, by DICOMweb.")

pacs.command()(listen)

Config = Annotated[Path, typer.Option("--config", help="The file that says where the PACS is.")]


@pacs.command()
def check(config: Config = Path("pacs.yaml")) -> None:
    """Check pacs.yaml, and ask the PACS whether it answers.

    The file is short: dicomweb: {url: https://pacs.example.org/dicom-web,
    user: clarivox, password_from: PACS_PASSWORD}.
    """
    found = reached(config).search("studies", limit=1)
    say("the PACS answers" + ("" if found else ", and shows no study"))


@pacs.command()
def enhance(
    study: Annotated[str, typer.Argument(help="StudyInstanceUID.")],
    bundle: Annotated[str, typer.Option("--bundle", "-b", help="A bundle of the server.")],
    series: Annotated[
        list[str] | None, typer.Option(help="SeriesInstanceUID; may be repeated. All that the bundle is for, without.")
    ] = None,
    config: Config = Path("pacs.yaml"),
    server: Server = SERVER,
    key: Key = None,
    authority: Authority = None,
    options: Options = None,
    strength: Strength = 1.0,
) -> None:
    """Fetch the series of STUDY, enhance them on a server, and store the derived series in the PACS.

    A series that clarivox made is left alone, and what was stored before is
    stored again under the same identifiers: nothing is doubled.
    """
    from clarivox.client import Client
    from clarivox.server.pacs.round_trip import enhanced

    web = reached(config)
    client = Client(server, key, authority=str(authority) if authority else None)
    params: dict[str, Any] = {"strength": strength, "options": parsed(options or [])}
    wanted = chosen(web, client, study, bundle, series or [])
    failed, rows = 0, []
    with watched(bundle) as progress:

        def told(stage: str, share: float) -> None:
            if progress(Step(stage, share)) is False:
                raise CancelledError("stopped on request; what was stored is kept")

        for uid in wanted:
            try:
                done = enhanced(web, client, study, uid, bundle, params, told)
            except CancelledError:
                raise
            except ClarivoxError as error:
                if len(wanted) == 1:
                    raise
                if error.code != "own_result":
                    failed += 1
                    complain(error, about=uid)
                continue
            rows.append([uid, done.derived, str(done.instances)])
    table("", ["series", "derived series", "instances"], rows)
    if failed:
        raise typer.Exit(1)


def reached(config: Path) -> DicomWeb:
    """The PACS of a file of settings."""
    from clarivox.server.pacs.settings import read

    return read(config).web()


def chosen(web: DicomWeb, client: Any, study: str, bundle: str, named: list[str]) -> list[str]:
    """The series that were named, or those of the study that the bundle is for."""
    if named:
        return named
    modalities = client.bundles(bundle)["modalities"]
    return [uid for uid, modality in web.series(study) if not modalities or modality in modalities]
