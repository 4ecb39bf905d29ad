"""Where no keys are asked for, requests are this machine's own: not those of a page it looks at.

A browser sends any page's requests to loopback too. A page of another site may post a form there
(it can't read the answer), and one whose name is made to resolve to loopback (DNS rebinding) may
even read. The first kind of request names its page in ``Origin``, the second its name in ``Host``.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from jobs.settings import is_loopback
from service.problems import ProblemError

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})


def refuse_other_sites(method: str, headers: Headers, *, on_loopback: bool) -> None:
    """Refuses what a page of another site has a browser send.

    Args:
        method: of the request.
        headers: of the request.
        on_loopback: the gateway listens nowhere else, so whoever means it names loopback.

    Raises:
        ProblemError: ``wrong_host`` or ``other_site``.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if on_loopback and host and not is_loopback(_name(host)):
        raise ProblemError("wrong_host", "The request's Host header is not this machine.")
    is_own = origin is None or origin.lower().partition("://")[2] == host.lower()
    if method not in _HARMLESS and not is_own:
        raise ProblemError("other_site", "A page of another site has sent this.")


def _name(host: str) -> str:
    """A ``Host`` header's name or address, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
