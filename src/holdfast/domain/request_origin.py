"""Whether a page of our own made a request: what a browser says of where a request comes from.

A cookie is no proof of that. It is sent with every request to this host, whoever made it: SameSite=Strict stops pages
of other sites, but all ports of a host, and all its subdomains, are one site.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RequestSource:
    """Headers of a request, empty where there is none, and whether it came over TLS for all that we know."""

    fetch_site: str
    """`Sec-Fetch-Site`: no script can set it. Browsers send it over TLS and to localhost."""
    origin: str
    """`Origin`: sent with WebSockets, with cross-origin reads, and with what is not GET or HEAD."""
    host: str
    secure: bool


def is_same_origin(source: RequestSource, public_url: str, *, must_say: bool) -> bool:
    """Whether the request comes from a page of this server, or from the address bar.

    Args:
        source: What the browser says.
        public_url: Where users reach this server, if that is known: a proxy may change the header Host.
        must_say: Refuse where the browser says nothing, and what was typed into the address bar: for requests that
            every browser says the origin of.
    """
    if source.fetch_site:
        return source.fetch_site == "same-origin" or (source.fetch_site == "none" and not must_say)
    if source.origin:
        return _fits(source, public_url)
    return not must_say


def _fits(source: RequestSource, public_url: str) -> bool:
    theirs = _parts(source.origin)
    if theirs is None:
        return False
    if theirs == _parts(public_url):
        return True
    scheme, host, port = theirs
    if source.secure and scheme != "https":
        return False
    # TLS may end at a proxy that does not say so: the scheme is the browser's, host and port are ours.
    return _parts(f"{scheme}://{source.host}") == (scheme, host, port)


def _parts(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no origin, such as `null`."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return None
    if scheme not in _PORTS or not host:
        return None
    return scheme, host, port if port is not None else _PORTS[scheme]
