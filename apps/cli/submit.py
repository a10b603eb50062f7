# SPDX-License-Identifier: Apache-2.0
"""`clarivox submit`: the same as `clarivox enhance`, but on a server."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clarivox.cli.enhance import Engine, Form, parsed
from clarivox.cli.screen import say, watched
from clarivox.errors import CancelledError, ConflictError, OptionError, OutputError
from clarivox.progress import Progress, Step

if TYPE_CHECKING:
    from clarivox.client import Client, Job

SERVER = "http://127.0.0.1:8000"
HEARD_S = 0.1
"""A Ctrl-C is passed on to the server so soon, whatever the job does."""

Server = Annotated[
    str, typer.Option(envvar="CLARIVOX_SERVER", metavar="URL", help="The server's address.", rich_help_panel="Server")
]
Key = Annotated[
    str | None,
    typer.Option(envvar="CLARIVOX_KEY", help="An API key or a token, where it wants one.", rich_help_panel="Server"),
]
Authority = Annotated[
    Path | None,
    typer.Option(metavar="PEM", help="The authority that signed its certificate.", rich_help_panel="Server"),
]
Options = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the bundle; may be repeated.")
]
Strength = Annotated[float, typer.Option(help="Share of the change to apply, 0 to 1.")]


def submit(
    source: Annotated[
        Path | None, typer.Argument(metavar="[IN]", help="A file, a folder at any depth, or a zip.")
    ] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", "-b", help="A bundle of the server.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; of a DICOM series, or of several, a folder.")
    ] = None,
    server: Server = SERVER,
    key: Key = None,
    authority: Authority = None,
    options: Options = None,
    strength: Strength = 1.0,
    engine: Annotated[Engine, typer.Option(help="What runs the network; openvino on a CPU only.")] = Engine.TORCH,
    series: Annotated[str | None, typer.Option(help="Which of several series; all by default.")] = None,
    form: Annotated[Form | None, typer.Option("--as", help="Format of the result; the source's by default.")] = None,
    like: Annotated[Path | None, typer.Option(help="DICOM series whose headers to use.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also fetch the page that shows what changed, to here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    allow_uneven: Annotated[
        bool, typer.Option("--allow-uneven", help="Take series whose slices are unevenly spaced or missing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run on a modality that the bundle is not for.")] = False,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on with a job that was submitted before, instead of IN.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the result, or print the job's id.")] = True,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop the job of --job.")] = False,
) -> None:
    """Send IN to a server, follow its progress, and fetch the result. Names of files stay here.

    Ctrl-C cancels the job. If the connection breaks, or the server restarts,
    it is gone on with. With --job a job from before is followed and fetched.
    """
    from clarivox.client import Client

    if (source is None) == (job is None) or (source is not None and bundle is None):
        raise OptionError("give IN and a bundle (-b), or --job ID")
    if output is not None and output.exists() and not overwrite:
        raise OutputError(f"{output} exists already; choose another name, or --overwrite", code="output_exists")
    client = Client(server, key, authority=str(authority) if authority else None)
    if cancel:
        say(f"{client.cancel(str(job)).id} is being cancelled")
        return
    params: dict[str, Any] = {"strength": strength, "engine": str(engine), "report": report is not None}
    params |= {
        "options": parsed(options or []),
        "allow_uneven": allow_uneven,
        "force": force,
        "as": form and form.value,
    }
    with watched(bundle or "") as progress:
        asked = client.job(job) if job else _sent(client, source, bundle, like, {**params, "series": series}, progress)
        if not wait:
            say(asked.id)
            return
        done = _followed(client, asked, progress)
        if output is None:
            say(f"job {done.id} succeeded; fetch it with: clarivox submit --job {done.id} -o OUT")
            return
        written = _fetched(client, done, output, form.value if form and job else None, overwrite, progress)
        if report is not None:
            client.download(done, report, role="evidence", overwrite=overwrite)
    for note in (*done.content.get("notes", ()), *done.content.get("degradations", ())):
        say(f"note: {note}")
    say(f"{written} written" + (f", and {report}" if report else ""))


def _sent(client: Client, source: Any, bundle: Any, like: Any, params: dict[str, Any], progress: Progress) -> Job:
    def sent(done: int, total: int) -> None:
        if progress(Step("send", done / max(1, total))) is False:
            raise CancelledError("stopped; the same command goes on with what was sent")

    given = {name: value for name, value in params.items() if value is not None}
    return client.submit(source, bundle, like=like, sent=sent, **given)


def _followed(client: Client, job: Job, progress: Progress) -> Job:
    """The job once it has ended well; a Ctrl-C on the way cancels it.

    Raises:
        ClarivoxError: it failed, or was cancelled.
    """
    asked = False
    now = job
    for now in _turns(client, job):
        stage = now.stage or ("wait" if now.state == "queued" else now.state)
        if progress(Step(stage, now.done, now.eta_s)) is False and not asked and not now.ended:
            asked = True
            with suppress(ConflictError):
                client.cancel(now)
    return now.checked()


def _turns(client: Client, job: Job) -> Iterator[Job]:
    """A job with each change, and again each `HEARD_S`, so that a Ctrl-C is heard while nothing changes."""
    import queue
    import threading

    changes: queue.Queue[Job | BaseException] = queue.Queue()

    def follow() -> None:
        try:
            for change in client.follow(job):
                changes.put(change)
        except Exception as error:  # noqa: BLE001  whoever waits would wait for ever
            changes.put(error)

    threading.Thread(target=follow, daemon=True).start()
    while not job.ended:
        try:
            change = changes.get(timeout=HEARD_S)
        except queue.Empty:
            change = job
        if isinstance(change, BaseException):
            raise change
        job = change
        yield job


def _fetched(client: Client, job: Job, output: Path, form: str | None, overwrite: bool, progress: Progress) -> Path:
    """The result under the name that was wished for; a zip becomes a folder unless a zip was wished for."""
    part = output.with_name(f".{output.name}.{job.id}.{form or 'result'}")

    def got(done: int, total: int) -> None:
        if progress(Step("fetch", done / max(1, total))) is False:
            raise CancelledError(f"stopped; go on with: clarivox submit --job {job.id} -o {output}")

    client.download(job, part, form=form, overwrite=True, got=got)
    if output.suffix.lower() != ".zip" and zipfile.is_zipfile(part):
        with zipfile.ZipFile(part) as archive:
            # extractall leaves no way out of the folder, whatever an entry is called.
            archive.extractall(output)
        part.unlink()
    elif output.exists() and not overwrite:
        raise OutputError(f"{output} exists already; choose another name, or --overwrite", code="output_exists")
    else:
        part.replace(output)
    return output
