"""One frozen settings object a process, built at the edge and passed down.

Every field can be given as an environment variable with the prefix ``ONEPAIR_``.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.data_dir import default_data_dir

PositiveSeconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Configuration shared by gateway, worker and command line.

    Secrets are ``SecretStr`` and never appear in ``repr`` or logs. Times are seconds.
    """

    model_config = SettingsConfigDict(
        env_prefix="ONEPAIR_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    # where things are
    data_dir: Path = Field(default_factory=default_data_dir)
    valkey_url: SecretStr | None = Field(default=None, description="None: embedded Valkey.")
    valkey_maxmemory: str = Field(default="256mb", pattern=r"^\d+(b|kb|mb|gb)?$")
    namespace: str = Field(default="osmis", pattern=r"^[a-z0-9_-]+$")
    store: Literal["folder", "s3"] = "folder"
    s3_endpoint_url: str | None = None
    s3_public_url: str | None = None
    s3_bucket: str = "onepair"
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    delivery: Literal["proxy", "presign"] = "proxy"
    presign_seconds: int = Field(default=900, ge=1, le=900)

    # leases and retries
    lease_seconds: PositiveSeconds = 60.0
    beat_seconds: PositiveSeconds = 10.0
    reap_seconds: PositiveSeconds = 15.0
    reap_lock_seconds: PositiveSeconds = 10.0
    ring_again_seconds: PositiveSeconds = 60.0
    retry_base_seconds: PositiveSeconds = 5.0
    retry_max_seconds: PositiveSeconds = 300.0
    max_strikes: int = Field(default=3, ge=1)
    max_losses: int = Field(default=10, ge=1)
    hang_min_seconds: PositiveSeconds = 300.0
    hang_step_factor: float = Field(default=20.0, gt=1)
    hang_first_step_seconds: PositiveSeconds = 1800.0
    checkpoint_seconds: PositiveSeconds = 30.0

    # what is kept, and how long
    retention_days: float = Field(default=30.0, gt=0)
    tombstone_seconds: PositiveSeconds = 7 * 86_400.0
    idempotency_seconds: PositiveSeconds = 86_400.0
    events_kept: int = Field(default=5_000, ge=1)
    events_after_end_seconds: PositiveSeconds = 86_400.0
    orphan_seconds: PositiveSeconds = 86_400.0
    sweep_delay_seconds: PositiveSeconds = Field(
        default=300.0, description="From a gateway's start to its first sweep of orphans."
    )
    sweep_seconds: PositiveSeconds = Field(
        default=86_400.0, description="Between two sweeps of orphans, by whichever gateway."
    )

    # limits
    max_upload_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_output_px: int = Field(default=1_024, ge=32)
    decode_concurrency: int = Field(default=2, ge=1)
    decode_timeout_seconds: PositiveSeconds = 60.0
    max_sets_per_job: int = Field(default=4, ge=1)
    max_sets_per_key: int = Field(default=8, ge=1)
    max_jobs_per_key: int = Field(default=1_000, ge=1, description="Unfinished jobs a key.")
    max_kept_jobs_per_key: int = Field(
        default=10_000,
        ge=1,
        description="Jobs of an API key, ended ones included, until they expire or are deleted: "
        "each takes some 9 KB of Valkey's memory. Then no job is taken.",
    )
    max_bytes_per_key: int = Field(
        default=100 * 1024**3,
        ge=1,
        description="Inputs, checkpoints and archives of an API key; then nothing new is taken.",
    )

    # scoring and devices
    inception_weights: Path | None = None
    inception_sha256: str | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cuda_graphs: bool = Field(
        default=True, description="A GPU replays training steps as a graph: many times as fast."
    )

    # the worker's metrics; the gateway has its own at /metrics
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(
        default=None, ge=1, le=65_535, description="Where a worker answers Prometheus; None: not."
    )

    # the gateway
    host: str = "127.0.0.1"
    port: int = Field(default=8_000, ge=0, le=65_535)
    api_keys_file: Path | None = Field(
        default=None,
        description="Made by `onepair keys create`. Where it is named, keys are asked for even if "
        "it is missing; None: api-keys.json in data_dir, and keys are asked for once it is there.",
    )
    allow_open: bool = Field(
        default=False, description="Listen beyond loopback without asking for keys."
    )
    allowed_hosts: str = Field(
        default="host.docker.internal",
        description="Names with a dot in them that the gateway answers to while it asks for no "
        "keys, with commas between: any page's name could be made to resolve to this machine.",
    )
    requests_per_minute: int = Field(default=600, ge=1, description="Of one API key.")
    rate_store_url: SecretStr | None = Field(
        default=None,
        description="A Valkey for counting requests where gateways share the limit; best one that "
        "keeps nothing on disk. None: each gateway counts in memory.",
    )
    max_connections: int = Field(
        default=4_000, ge=1, description="At once, event streams included; then 503."
    )
    request_head_seconds: PositiveSeconds = Field(
        default=20.0, description="For a request's headers; then the connection is closed."
    )
    upload_pause_seconds: PositiveSeconds = Field(
        default=30.0, description="Without a byte of an upload; then it is refused."
    )
    shutdown_seconds: int = Field(
        default=3, ge=0, description="For open requests when it is told to end; then they are cut."
    )
    upload_seconds: PositiveSeconds = Field(default=900.0, description="For a whole upload.")
    webhooks: bool = Field(
        default=False, description="Whether jobs may come with a URL that is told of their end."
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Each owner's signing secret is derived from it; GET /webhook-secret tells it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = Field(
        default="console", description="json: one object a line, for machines."
    )

    traces_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where traces go, by OTLP over HTTP: http://collector:4318/v1/traces. "
        "None: nowhere.",
    )

    @property
    def embedded(self) -> bool:
        """Whether OnePair starts its own Valkey."""
        return self.valkey_url is None

    @property
    def api_keys_path(self) -> Path:
        """Where the API keys are, or will be."""
        return self.api_keys_file or self.data_dir / "api-keys.json"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the gateway."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _store_is_complete(self) -> Self:
        if self.delivery == "presign":
            self._check_presign()
        if self.beat_seconds >= self.lease_seconds:
            raise ValueError("beat_seconds must be below lease_seconds, or every lease runs out")
        if self.webhooks and self.webhook_secret is None:
            raise ValueError("webhooks need a webhook_secret to be signed with")
        if (self.inception_weights is None) != (self.inception_sha256 is None):
            raise ValueError("inception_weights and inception_sha256 go together")
        return self

    def _check_presign(self) -> None:
        if self.store != "s3" or self.s3_public_url is None:
            raise ValueError("delivery=presign needs store=s3 and s3_public_url")
        # The host is part of what is signed, so no proxy can put it right later.
        public_host = urlsplit(self.s3_public_url).hostname or ""
        if is_loopback(public_host) and not is_loopback(self.host):
            raise ValueError("s3_public_url is loopback while the gateway listens beyond it")


def load_settings() -> Settings:
    """Settings from the environment, and secrets from files in ``$ONEPAIR_SECRETS_DIR``.

    File names are those of the variables in lower case: ``onepair_s3_secret_key``.
    """
    # The argument is pydantic-settings' own and no field, so type checkers don't know it.
    build: Callable[..., Settings] = Settings
    return build(_secrets_dir=os.environ.get("ONEPAIR_SECRETS_DIR"))


def secret_variables() -> frozenset[str]:
    """Names of the environment variables that hold secrets."""
    return frozenset(
        f"ONEPAIR_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if field.annotation is SecretStr or SecretStr in get_args(field.annotation)
    )


def is_loopback(host: str) -> bool:
    """Whether a name or address means the machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
