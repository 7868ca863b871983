"""Settings: from the environment (prefix `HOLDFAST_`), then a `.env` file, then defaults that work.

Each field's description is what docs/settings.md says of it; a test holds that none is missing there. The unprefixed
`PORT`, `DATABASE_URL` and `ACCOUNT_NAMESPACE` are honoured too, as hosting platforms set them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, Field, PrivateAttr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from holdfast.domain import cluster
from holdfast.domain.delivery import Retries, Rules
from holdfast.domain.errors import InvalidSettings, InvalidWebhook
from holdfast.domain.ignored_chats import IgnoredChats
from holdfast.domain.lease import LeaseTimes
from holdfast.domain.pacing import Pace
from holdfast.domain.receivers import Reach, check_url
from holdfast.domain.state import Times
from holdfast.domain.whatsapp import WhatsApp
from holdfast.http_settings import HttpSettings
from holdfast.reach_settings import ReachSettings
from holdfast.setting_sources import PREFIX, read
from holdfast.setting_types import MIN_KEY_LENGTH, ChatKinds, EventNames, Key, Secret

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - chosen for platforms alone, and with a key
OF_WAHA = ("/api", "/dashboard", "/swagger")
"""Pages of WAHA itself that are easily taken for its address."""


def checked_base(url: str) -> str:
    """An address without a slash at its end. Raises `ValueError` for one that cannot be asked."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must look like http://127.0.0.1:3001")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be an address alone, without a user, a query or a fragment")
    path = parts.path.rstrip("/")
    if any(path.endswith(own) or f"{own}/" in path for own in OF_WAHA):
        raise ValueError(f"must not have a path: leave out {parts.path}")
    return f"{parts.scheme}://{parts.netloc}{path}"


class RemoteServer(BaseModel, extra="forbid"):
    """One of the WAHA servers in the settings."""

    url: str
    api_key: Secret = None
    webhook_key: Key = None

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return checked_base(value.strip())

    @model_validator(mode="after")
    def _has_webhook_key(self) -> Self:
        """Without a webhook key one is derived from the API key, and is as guessable as that."""
        if self.api_key and not self.webhook_key and len(self.api_key.get_secret_value()) < MIN_KEY_LENGTH:
            raise ValueError(
                f"its api_key has fewer than {MIN_KEY_LENGTH} characters, so what signs its webhooks could be guessed. "
                "Give it a webhook_key, or WAHA a longer key"
            )
        return self

    @property
    def in_the_clear(self) -> bool:
        """Whether it is asked over plain http, beyond this machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not (parts.hostname == "localhost" or Reach.is_loopback(parts.hostname or ""))


def _either(name: str) -> AliasChoices:
    return AliasChoices(f"{PREFIX}{name}", name)


class PortSettings(BaseSettings):
    """The port alone, for a command that must not see the rest."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", populate_by_name=True)

    port: int = Field(3000, ge=0, le=65535, validation_alias=_either("PORT"), description="Port to listen on; 0: any.")


class Settings(PortSettings, HttpSettings, ReachSettings):
    """Every setting of an instance. Times are seconds."""

    # --- server
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Use 0.0.0.0 to be reached from other machines. Unset, on a platform that "
        "sets `PORT`: 0.0.0.0, and `HOLDFAST_API_KEY` is required.",
    )
    data_dir: Path = Field(Path("data"), description="Folder for the database, media and the sidecar's packages.")
    database_url: str = Field(
        "",
        validation_alias=_either("DATABASE_URL"),
        description="`sqlite:///path` or `postgresql://...`. Empty: SQLite in the data folder.",
    )
    database_direct_url: str = Field(
        "",
        description="Where `HOLDFAST_DATABASE_URL` leads through a pooler: the same database past it. Instances then "
        "hear of each other at once.",
    )
    api_key: Key = Field(
        None,
        description="Key for the API and the dashboard, of at least 12 characters. Unset or empty: one is generated on "
        "first start, and printed.",
    )
    advertise_url: str = Field(
        "",
        description="URL under which other instances reach this one. Empty: guessed from address, host name and port.",
    )
    labels: str = Field(
        "",
        description="What this instance offers, as `region=eu,proxy=a`: a session that names labels runs only where "
        "all of them are.",
    )
    account_namespace: str = Field(
        "prod",
        validation_alias=_either("ACCOUNT_NAMESPACE"),
        description="Part of account ids made from phone numbers. Keep it the same on every deploy.",
    )
    ignore: ChatKinds = Field(
        "",
        description="Chats that sessions ignore which do not say (`config.ignore`): `status`, `groups`, `channels`, "
        "`broadcast`, separated by commas. What comes in them is neither stored nor reported.",
    )
    presented_engine: Literal["NOWEB", "GOWS"] = Field(
        "NOWEB",
        description="WAHA's engine that clients see: the `engine` field, and the shape of `_data` and of answers to "
        "sends. It does not depend on the engine that runs a session.",
    )
    page_limit: int = Field(1_000, ge=50, description="Most rows of a list that one answer has, whatever its `limit`.")
    drain: float = Field(
        0.0,
        ge=0,
        description="How long a stopping instance goes on answering while its `/api/status` says 503, so that a load "
        "balancer passes it over before its port closes.",
    )

    # --- logs
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json` lines, coloured `console` text, or `auto`: console on a terminal."
    )

    # --- leases and times
    lease_ttl: float = Field(15.0, gt=0, description="How long a lease lasts without renewal.")
    lease_renew: float = Field(5.0, gt=0, description="How often leases are renewed.")
    lease_mode: Literal["strict", "lenient"] = Field(
        "strict",
        description="`strict`: without the database connections close in time, so that never two are open. "
        "`lenient`: they stay open while it is away, and another instance that reaches it may open them as well.",
    )
    connect_timeout: float = Field(60.0, gt=0, description="How long a connection may take; stops at the first QR.")
    pairing_timeout: float = Field(600.0, gt=0, description="How long a QR or pairing code stays open.")
    health_interval: float = Field(30.0, gt=0, description="How often a session is proved alive.")
    liveness_deadline: float = Field(30.0, gt=0, description="A WORKING older than its last proof by this is not said.")
    keepalive: float = Field(10.0, gt=0, description="How often the engine pings WhatsApp.")
    listed_interval: float = Field(600.0, gt=0, description="How often it is asked whether our device is still listed.")
    quiet_interval: float = Field(
        3600.0, ge=0, description="Nothing delivered for so long: log in again to see what waits. Doubles; 0: never."
    )
    restore_tries: int = Field(3, ge=0, description="Failed attempts before FAILED is shown; slow retries go on.")
    connect_rate: float = Field(40.0, gt=0, description="Connections that an instance opens per second, at most.")
    connect_burst: float = Field(50.0, ge=1, description="Connections that it may open at once, before the rate holds.")
    send_wait: float = Field(30.0, ge=0, description="How long a send request waits for WhatsApp's acknowledgement.")
    send_deadline: float = Field(
        86_400.0, gt=0, description="How long a message may wait to be sent, unless it or its session says otherwise."
    )
    restricted_sends: Literal["hold", "fail"] = Field(
        "hold", description="Messages to new people while WhatsApp restricts the account (463): keep, or fail at once."
    )
    time_factor: float = Field(
        1.0,
        gt=0,
        le=1,
        description="For tests only: every time above is multiplied by it, leases and sidecar included.",
    )
    crash_file: str = Field(
        "",
        description="For tests only, and refused with WhatsApp's own servers: a file in which a test arms crash points "
        "(CONTRIBUTING.md), at which the process kills itself.",
    )

    # --- webhooks
    webhook_url: str = Field("", description="Global webhook for all sessions, beside those of each session.")
    webhook_events: EventNames = Field("*", description="Events of the global webhook, separated by commas; `*`: all.")
    webhook_hmac_key: Secret = Field(None, description="Key that signs the global webhook.")
    webhook_timeout: float = Field(30.0, gt=0, description="How long a receiver may take to answer.")
    webhook_parallel: int = Field(16, ge=1, description="Chats whose events one webhook is sent at the same time.")
    webhook_hold: float = Field(
        900.0, ge=0, description="How long an event that a receiver refuses holds back the next ones of its chat."
    )
    webhook_give_up: float = Field(
        259_200.0, gt=0, description="How long a refused event is tried again, unless the webhook's `retries` say."
    )
    event_retention: float = Field(
        1_209_600.0, ge=0, description="How long events are kept after every webhook took them; never less."
    )
    dead_letter_retention: float = Field(
        2_592_000.0, ge=0, description="How long events that were given up are kept, to be replayed."
    )

    # --- files of messages
    media_dir: str = Field(
        "",
        description="Folder for files of messages. Empty: `media` in the data folder. Instances of one cluster need "
        "one that all of them reach, or a bucket.",
    )
    media_limit: int = Field(100_000_000, ge=1, description="Largest file that is sent or fetched, in bytes.")
    media_retention: float = Field(1_209_600.0, ge=0, description="How long received files are kept.")
    media_s3_url: str = Field(
        "",
        description="Keep files in an S3-compatible bucket instead: `https://s3.eu-central-1.amazonaws.com/bucket/prefix`.",
    )
    media_s3_region: str = Field("us-east-1", description="The bucket's region; `auto` for some other stores.")
    media_s3_key_id: str = Field("", description="Access key id for the bucket.")
    media_s3_secret: Secret = Field(None, description="Secret access key for the bucket.")

    # --- for operators
    alert_webhook_url: str = Field("", description="Where alerts go. Empty: to the log and the dashboard only.")
    alert_webhook_secret: Secret = Field(None, description="Key that signs alerts (HMAC-SHA512).")
    alert_queue_age: float = Field(
        300.0, gt=0, description="An alert is raised when a message, or an event for a webhook, waits for longer."
    )
    alert_damping: float = Field(
        300.0, ge=0, description="An alert is resolved when its cause was away for so long without a break."
    )
    metrics_key: Key = Field(
        None,
        description="Key that opens `/metrics` and nothing else, of at least 12 characters. The API key opens it, too.",
    )
    metrics_sessions: bool = Field(False, description="Figures by name of session as well: for few sessions.")

    # --- WAHA servers
    engine: Literal["baileys", "waha"] = Field(
        "baileys", description="Where sessions live that do not say: in Holdfast, or on the first WAHA server."
    )
    waha_servers: Annotated[dict[str, RemoteServer], NoDecode] = Field(
        {},
        description='WAHA servers by name, as JSON: `{"main": {"url": "http://127.0.0.1:3001", "api_key": "...", '
        '"webhook_key": "..."}}`. The webhook key signs what WAHA tells.',
    )
    waha_webhook_url: str = Field(
        "",
        description="URL under which WAHA servers reach Holdfast. Empty: as other instances do. `none`: they tell "
        "nothing, and are asked only.",
    )
    waha_allow_http: bool = Field(
        False, description="Whether WAHA servers on other machines may be asked over http, which hides nothing."
    )
    waha_timeout: float = Field(30.0, gt=0, description="How long a WAHA server may take to answer a request.")
    waha_stuck_after: float = Field(
        25.0, gt=0, description="How long a session may stay STARTING at WAHA before it is restarted there."
    )
    waha_remake_after: int = Field(
        3,
        ge=0,
        description="Useless restarts in a row after which a linked session is deleted at WAHA and made anew, which "
        "takes a new QR; 0: never.",
    )
    waha_page_interval: float = Field(
        60.0, gt=0, description="How often newest messages are read from WAHA, for those whose webhook was lost."
    )

    # --- WhatsApp
    whatsapp_url: str = Field("wss://web.whatsapp.com/ws/chat", description="WhatsApp's WebSocket URL.")
    whatsapp_root_key: str = Field("", description="Hex of the Noise root key to trust. Empty: WhatsApp's own.")
    whatsapp_ca_file: str = Field("", description="CA file for TLS connections of the sidecar, beside the system's.")
    whatsapp_version: str = Field("", description="WhatsApp Web version as `2.3000.1`. Empty: the engine's own.")
    whatsapp_version_url: str = Field(
        "https://web.whatsapp.com/sw.js",
        description="Where the present version is found when WhatsApp refuses ours (405): text with `client_revision`.",
    )
    node: str = Field("", description="Path of the Node program. Empty: the one that came with Holdfast, else PATH.")
    sidecar_memory_mb: int = Field(
        1024, ge=192, description="Memory limit of a sidecar, in MB. One that exceeds it is replaced."
    )
    sessions_per_sidecar: int = Field(200, ge=1, description="Sessions that one sidecar hosts before a second starts.")
    browser_name: str = Field("Holdfast", description="Name shown on the phone in the list of linked devices.")

    @field_validator("whatsapp_root_key")
    @classmethod
    def _is_key(cls, value: str) -> str:
        if value and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError("must be 64 hex digits")
        return value

    @field_validator("webhook_url", "alert_webhook_url", "media_s3_url", "public_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value:
            try:
                check_url(value)
            except InvalidWebhook as error:
                raise ValueError(error.sentence.removesuffix(".")) from error
        return value

    @field_validator("waha_servers", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value or "{}")
        except ValueError as error:
            raise ValueError('must be JSON, like {"main": {"url": "http://127.0.0.1:3001"}}') from error

    @field_validator("waha_webhook_url")
    @classmethod
    def _is_way_back(cls, value: str) -> str:
        return value if value in ("", "none") else checked_base(value)

    @field_validator("whatsapp_version")
    @classmethod
    def _is_version(cls, value: str) -> str:
        if value and not re.fullmatch(r"\d+\.\d+\.\d+", value):
            raise ValueError("must look like 2.3000.1023223821")
        return value

    @field_validator("labels")
    @classmethod
    def _are_labels(cls, value: str) -> str:
        if any(not re.fullmatch(r"[\w.-]+=[\w.-]+", part.strip()) for part in value.split(",") if part.strip()):
            raise ValueError("must look like region=eu,proxy=a")
        return value

    @model_validator(mode="after")
    def _crashes_in_tests_only(self) -> Self:
        if self.crash_file and (urlsplit(self.whatsapp_url).hostname or "").endswith("whatsapp.com"):
            raise ValueError("HOLDFAST_CRASH_FILE is for tests against a simulator, and never for WhatsApp itself")
        return self

    @model_validator(mode="after")
    def _bucket_has_keys(self) -> Self:
        if self.media_s3_url and not (self.media_s3_key_id and self.media_s3_secret):
            raise ValueError("HOLDFAST_MEDIA_S3_URL needs HOLDFAST_MEDIA_S3_KEY_ID and HOLDFAST_MEDIA_S3_SECRET")
        return self

    @model_validator(mode="after")
    def _servers_fit(self) -> Self:
        for name, server in self.waha_servers.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
                raise ValueError("HOLDFAST_WAHA_SERVERS: a name has 1 to 32 letters, digits, '-' and '_'")
            if server.in_the_clear and not self.waha_allow_http:
                raise ValueError(
                    f"HOLDFAST_WAHA_SERVERS: '{name}' is on another machine, and over http its key and all messages "
                    "can be read on the way. Give it an https:// URL, or set HOLDFAST_WAHA_ALLOW_HTTP=true"
                )
        return self

    @model_validator(mode="after")
    def _lease_fits(self) -> Self:
        if not self.lease_renew * 2 < self.lease_ttl:
            raise ValueError("HOLDFAST_LEASE_RENEW must be less than half of HOLDFAST_LEASE_TTL")
        return self

    # --- what follows from them
    _platform_port: bool = PrivateAttr(default=False)

    @property
    def platform_port(self) -> bool:
        """Whether a hosting platform chose the port (`PORT` in the environment) and nobody chose an address."""
        return self._platform_port

    @property
    def url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'holdfast.sqlite3'}"

    def times(self) -> Times:
        """The machine's times, scaled."""
        f = self.time_factor
        return Times(
            connect=self.connect_timeout * f,
            pairing=self.pairing_timeout * f,
            health=self.health_interval * f,
            liveness=self.liveness_deadline * f,
            listed=self.listed_interval * f,
            stable=300.0 * f,
            failed_after=self.restore_tries,
            broken_window=600.0 * f,
            outdated_retry=3600.0 * f,
            quiet=self.quiet_interval * f,
            factor=f,
        )

    def lease(self) -> LeaseTimes:
        """The lease's times, scaled. The margin is a seventh of the ttl: 2 s of 15."""
        f = self.time_factor
        ttl = self.lease_ttl * f
        return LeaseTimes(ttl, self.lease_renew * f, margin=ttl / 7.5, lenient=self.lease_mode == "lenient")

    @property
    def whatsapp(self) -> WhatsApp:
        """The WhatsApp that sessions are linked to."""
        return WhatsApp.of(self.whatsapp_root_key, self.whatsapp_url)

    def facts(self) -> dict[str, object]:
        """What other instances on the database are told of these settings, to be compared with theirs."""
        return {
            cluster.LEASE_TTL: self.lease().ttl,
            cluster.LEASE_MODE: self.lease_mode,
            cluster.NAMESPACE: self.account_namespace,
            cluster.WHATSAPP_URL: self.whatsapp_url,
            cluster.ROOT_KEY: self.whatsapp.root_key,
            cluster.PRESENTED_ENGINE: self.presented_engine,
            cluster.PROXY: self.proxy_shown(),
            cluster.IGNORE: ",".join(sorted(part.strip() for part in self.ignore.split(",") if part.strip())),
        }

    def ignored_chats(self) -> IgnoredChats:
        """Which chats sessions ignore that do not say."""
        return IgnoredChats.parse(self.ignore)

    def delivery_rules(self) -> Rules:
        """When refused events are tried again, scaled."""
        f = self.time_factor
        retries = Retries(delay=1.0 * f)
        hold, give_up = self.webhook_hold * f, self.webhook_give_up * f
        return Rules(hold, give_up, 300.0 * f, 3600.0 * f, probe=30.0 * f, probing=3600.0 * f, retries=retries)

    def pace(self) -> Pace:
        """How fast connections are opened."""
        return Pace(burst=self.connect_burst, rate=self.connect_rate)


def load(**overrides: object) -> Settings:
    """Read the settings. Raises `InvalidSettings` with one sentence per mistake, naming the variable."""
    settings = read(Settings, **overrides)
    if "host" not in settings.model_fields_set and os.environ.get("PORT") == str(settings.port):
        settings.host = EVERY_ADDRESS  # a platform routes to its port from outside: loopback is never reached
        settings._platform_port = True
    return settings


def check_reachable(settings: Settings) -> None:
    """Refuse to serve a platform's public port under a key that only the log would show.

    Raises:
        InvalidSettings: No API key is set.
    """
    if settings.platform_port and settings.api_key is None:
        raise InvalidSettings(
            f"The platform set PORT={settings.port}, so Holdfast listens on all addresses: set HOLDFAST_API_KEY to a "
            "long random value (openssl rand -hex 24). To listen on this machine only, set HOLDFAST_HOST=127.0.0.1."
        )
