"""Where no keys are asked for, requests are their senders' own: not those of a page they look at.

A browser sends any page's requests to this machine and its network too. A page of another site may
post a form there (it can't read the answer), and one whose name is made to resolve to us (DNS
rebinding) may even read. The first kind of request names its page in ``Origin``, the second its
name in ``Host``: a name with a dot in it, for nobody can have others published.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers

from service.problems import ProblemError

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def refuse_other_sites(method: str, headers: Headers, *, allowed_hosts: frozenset[str]) -> None:
    """Refuses what a page of another site has a browser send.

    Args:
        method: of the request.
        headers: of the request.
        allowed_hosts: names of ours that have a dot in them, in lower case.

    Raises:
        ProblemError: ``wrong_host`` or ``other_site``.
    """
    host = headers.get("host")
    if host is not None and not _is_ours(_split(f"//{host}").hostname or "", allowed_hosts):
        raise ProblemError("wrong_host", "The request's Host header is a name we don't know.")
    if method not in _HARMLESS and not _is_of_the_same_site(headers, host or ""):
        raise ProblemError("other_site", "A page of another site has sent this.")


def _is_ours(name: str, allowed_hosts: frozenset[str]) -> bool:
    """Whether no stranger can have published this name: no public name, an address, or allowed."""
    if name in allowed_hosts or name.rstrip(".").endswith(".localhost") or name == "localhost.":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and "." not in name
    return True


def _is_of_the_same_site(headers: Headers, host: str) -> bool:
    fetched = headers.get("sec-fetch-site")
    if fetched is not None:  # the browser's own word
        return fetched in {"same-origin", "none"}
    origin = headers.get("origin")
    if origin is None:
        return True
    page = _split(origin)
    ours = _split(f"{page.scheme}://{host}")
    return bool(page.hostname) and _place(page) == _place(ours)


def _place(parts: SplitResult) -> tuple[str | None, int | None]:
    try:
        port = parts.port
    except ValueError:
        return None, None
    return parts.hostname, port or _DEFAULT_PORTS.get(parts.scheme)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
