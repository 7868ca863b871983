"""AWS Signature Version 4 for S3, as every S3-compatible store checks it (pure)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """Who asks, and where. The secret is left out of the representation."""

    id: str
    secret: str
    region: str

    def __repr__(self) -> str:
        return f"Keys({self.id!r}, {self.region!r})"


def signed(keys: Keys, method: str, url: str, at: float, payload: str = EMPTY) -> dict[str, str]:
    """The headers of a request without a query. `at`: Unix seconds; `payload`: SHA-256 of the body, in hex."""
    parts = urlsplit(url)
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": payload, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    scope = f"{stamp[:8]}/{keys.region}/s3/aws4_request"
    canonical = "\n".join([method, parts.path or "/", "", *_lines(headers), "", names, payload])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + keys.secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    told = f"AWS4-HMAC-SHA256 Credential={keys.id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {name: value for name, value in headers.items() if name != "host"} | {"Authorization": told}


def _lines(headers: Mapping[str, str]) -> list[str]:
    return [f"{name}:{value}" for name, value in sorted(headers.items())]
