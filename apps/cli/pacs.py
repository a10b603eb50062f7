# SPDX-License-Identifier: Apache-2.0
"""`clarivox pacs`: studies from a PACS to a server and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.cli.enhance import parsed
from clarivox.cli.pacs_listen import listen
from clarivox.cli.screen import complain, exit_code, say, table, watched
from clarivox.cli.submit import SERVER, Authority, Key, Options, Server, Strength
from clarivox.errors import CancelledError, ClarivoxError, OptionError
from clarivox.progress import Step

if TYPE_CHECKING:
    from clarivox.bundle import BundleInfo
    from clarivox.server.pacs.web import DicomWeb

pacs = typer.Typer(no_args_is_help=True, help="Studies from a PACS to a server and back, by DICOMweb.")

pacs.command()(listen)

Config = Annotated[Path, typer.Option("--config", help="The file that says where the PACS is.")]
Bundles = Annotated[
    list[Path] | None, typer.Option("--bundles", metavar="DIR", help="A folder of own bundles; may be repeated.")
]


@pacs.command()
def check(config: Config = Path("pacs.yaml"), bundles: Bundles = None) -> None:
    """Check pacs.yaml and rules.yaml, and ask everything they name whether it answers.

    The PACS is asked by QIDO-RS, an Orthanc for its version, a destination by
    C-ECHO or QIDO-RS. What is wrong is said; nothing is sent.
    """
    from clarivox.server.pacs.check import findings
    from clarivox.server.pacs.settings import read

    first: ClarivoxError | None = None
    for one in findings(read(config), known(bundles)):
        if one.error is None:
            say(f"{one.part}: {one.says}")
        else:
            complain(one.error, about=one.part)
            first = first or one.error
    if first is not None:
        raise typer.Exit(exit_code(first))


@pacs.command("try")
def try_out(
    study: Annotated[str, typer.Argument(help="A folder, a file, a zip, or a StudyInstanceUID of the PACS.")],
    calling: Annotated[str, typer.Option(help="AE title that is to have sent it.")] = "",
    config: Config = Path("pacs.yaml"),
    bundles: Bundles = None,
) -> None:
    """Say for each series of STUDY which rule fires, and why those before it do not.

    Nothing is enhanced, and nothing is sent.
    """
    from clarivox.server.pacs.rules import load
    from clarivox.server.pacs.settings import read
    from clarivox.server.pacs.trial import of_files, of_pacs, said

    found = read(config)
    if found.rules is None:
        raise OptionError(f"{config.name} names no rules; add rules: rules.yaml", code="bad_rules")
    rules = load(found.rules, known(bundles), tuple(found.destinations)).rules
    place = Path(study)
    tried = of_files(place, rules, calling) if place.exists() else of_pacs(found.web(), study, rules, calling)
    for one in tried:
        for line in said(one):
            say(line)


def known(folders: list[Path] | None) -> list[BundleInfo]:
    """The bundles that rules may name: the shipped ones, those of named folders, those that were trained here."""
    from clarivox.bundle import catalogue
    from clarivox.cli.settings import settings_of

    settings = settings_of(None, None)
    trained = settings.data_dir / "bundles"
    return catalogue([*(folders or ()), *settings.bundle_dirs, *([trained] if trained.is_dir() else [])])


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
