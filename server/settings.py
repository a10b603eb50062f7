# SPDX-License-Identifier: Apache-2.0
"""How the server is set up: a file, then the environment, then flags; read once, at the start."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from clarivox.io.limits import GIB, Limits

MIB = 1 << 20
"""Bytes in a mebibyte."""


class Settings(BaseSettings):
    """Every setting of the server. Each can stand in the file, in the environment as CLARIVOX_NAME, or as a flag.

    >>> Settings(port=9000).port
    9000
    """

    model_config = SettingsConfigDict(env_prefix="CLARIVOX_", frozen=True, extra="forbid", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="Address to listen on; anything but this machine's own needs keys.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    data_dir: Path = Field(Path("clarivox-data"), description="Folder of the ledger, the files and the logs.")
    bundle_dirs: tuple[Path, ...] = Field((), description="Folders of your own bundles, before the shipped ones.")
    database: SecretStr | None = Field(
        None, description="postgresql+psycopg://…; by default SQLite in the data folder."
    )

    # Who may do what
    auth: str = Field("auto", pattern="^(auto|on|off)$", description="auto: on unless only this machine can connect.")
    allow_open: bool = Field(False, description="Start without keys on a public address; for closed networks.")
    oidc_issuer: str = Field("", description="Issuer of bearer tokens, an https address; empty for none.")
    oidc_audience: str = Field("clarivox", description="Audience that a token must name.")
    oidc_roles_claim: str = Field("realm_access.roles", description="Where a token lists its roles.")
    oidc_scopes: dict[str, tuple[str, ...]] = Field(
        {
            "user": ("read", "infer"),
            "annotator": ("read", "infer"),
            "reviewer": ("read", "infer"),
            "admin": ("read", "infer", "admin"),
        },
        description="Scopes of each role.",
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may call; none by default.")
    tls_certificate: Path | None = Field(None, description="PEM file; with tls_key the server speaks https.")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's key.")
    metrics_open: bool = Field(True, description="Serve /metrics without a key to this machine itself.")

    # Work
    devices: str = Field("auto", description="auto, cpu, or names as cuda:0,cuda:1; one worker each.")
    workers_cpu: int = Field(1, ge=0, le=64, description="Workers on the CPU where it is a device.")
    threads: int = Field(0, ge=0, description="Threads of a CPU worker; 0 shares the cores out.")
    model_cache_bytes: int = Field(2 * GIB, ge=0, description="Loaded networks of one worker.")
    preload: tuple[str, ...] = Field((), description="Bundles to load when a worker starts.")
    lease_s: float = Field(30, gt=0, description="How long a worker may be silent before its job is given away.")
    stall_s: float = Field(120, gt=0, description="How long a job may stand still before its worker is ended.")
    drain_s: float = Field(300, ge=0, description="How long running jobs may take to end when the server stops.")
    max_attempts: int = Field(3, ge=1, le=1000, description="How often a job is begun before it fails.")
    poison_crashes: int = Field(2, ge=1, description="How many workers a job may bring down before it fails.")
    retry_backoff_s: float = Field(2, ge=0, description="Wait before the second attempt; doubled for each further.")
    quarantine_faults: int = Field(3, ge=1, description="Device faults within ten minutes that take it out of use.")
    recycle_jobs: int = Field(1000, ge=1, description="Jobs after which a worker is renewed.")

    # Limits
    body_bytes: int = Field(4 * GIB, gt=0, description="Largest request.")
    unpacked_bytes: int = Field(16 * GIB, gt=0, description="Largest input after unpacking.")
    unpack_ratio: int = Field(200, gt=1, description="Unpacked size for each packed byte.")
    entries: int = Field(50_000, gt=0, description="Files of one input.")
    path_chars: int = Field(1024, gt=0, description="Length of a name in a zip.")
    voxels: int = Field(1 << 31, gt=0, description="Samples of one volume.")
    frames: int = Field(20_000, gt=0, description="Frames or files of one volume.")
    file_bytes: int = Field(2 * GIB, gt=0, description="Size of one DICOM file.")
    header_bytes: int = Field(64 * MIB, gt=0, description="A DICOM file without its pixels.")
    sequence_depth: int = Field(64, gt=0, description="Sequences within sequences.")
    parse_memory_bytes: int = Field(8 * GIB, gt=0, description="Address space of a process that reads an input.")
    parse_cpu_s: float = Field(60, gt=0, description="CPU seconds to read an input, beside one a 10 MB.")
    idle_timeout_s: float = Field(60, gt=0, description="How long a client may send nothing in the middle of a body.")
    queue_jobs: int = Field(1000, ge=1, description="Jobs in the queue before 503.")
    owner_jobs: int = Field(50, ge=1, description="Jobs in the queue of one owner before 429.")
    blob_quota_bytes: int = Field(200 * GIB, gt=0, description="All files of the server.")
    disk_watermark_bytes: int = Field(2 * GIB, ge=0, description="Free disk below which new work is refused with 507.")
    disk_reserve_bytes: int = Field(64 * MIB, ge=0, description="A file that is given up to let running jobs end.")

    # Keeping
    keep_results_h: float = Field(24, ge=0, description="How long files of an ended job are kept.")
    keep_events_days: float = Field(90, ge=0, description="How long the history of jobs is kept.")
    deidentify: bool = Field(False, description="Take the patient's identity out of DICOM results.")
    keep_private: tuple[str, ...] = Field((), description="Private creators to keep in DICOM results.")

    # Being watched
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="How much is logged.")
    log_format: str = Field("auto", pattern="^(auto|json|text)$", description="auto: text on a terminal, else JSON.")
    otlp_endpoint: str = Field("", description="Where OpenTelemetry traces go; empty for nowhere.")
    viewer: bool = Field(False, description="Serve OHIF at /, as clarivox viewer install put it; the page is at /app/.")
    viewer_dir: Path | None = Field(None, description="Folder of an installed OHIF; by default the user's own.")
    pacs: Path | None = Field(None, description="pacs.yaml, as docs/pacs.md has it; /dicom-web then shows that PACS.")
    monai_label: bool = Field(True, description="Serve the routes of MONAI Label.")
    dicom_web: bool = Field(True, description="Serve QIDO-RS and WADO-RS over the server's own files.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before the environment before the file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @property
    def ledger_url(self) -> str:
        """The database as SQLAlchemy names it."""
        if self.database is not None:
            return self.database.get_secret_value()
        return f"sqlite:///{self.data_dir / 'ledger.sqlite'}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def needs_key(self) -> bool:
        """Whether a request must say who it is."""
        return self.auth == "on" or (self.auth == "auto" and not self.loopback)

    @property
    def limits(self) -> Limits:
        """What one input may claim."""
        return Limits(
            voxels=self.voxels,
            frames=self.frames,
            file_bytes=self.file_bytes,
            header_bytes=self.header_bytes,
            sequence_depth=self.sequence_depth,
            unpacked_bytes=self.unpacked_bytes,
            ratio=self.unpack_ratio,
            entries=self.entries,
            path_chars=self.path_chars,
        )


def settings_from(file: Path | None, **flags: Any) -> Settings:
    """The settings of a start: those of a YAML file, the environment, and flags that are not None.

    Raises:
        pydantic.ValidationError: a name is unknown, or a value out of range.
    """

    class FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=file)

    given = {name: value for name, value in flags.items() if value is not None}
    return Settings.model_construct(**dict(FromFile(**given)))
