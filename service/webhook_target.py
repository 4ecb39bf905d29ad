"""Where a webhook may go: public addresses over TLS, and nowhere else.

A URL from outside is asked for from inside: it must not reach what only we can reach. So every
address that the name resolves to has to be public, and the connection goes to the address that was
looked at, whatever the name resolves to a moment later.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_URL_LENGTH = 2_000
_RESOLVE_SECONDS = 5.0
_RESOLVERS = ThreadPoolExecutor(4, thread_name_prefix="resolve")
Resolve = Callable[[str, int], Awaitable[list[str]]]
IsPublic = Callable[[str], bool]


class TargetRefusedError(Exception):
    """The URL is none that a webhook may go to; ``code`` says why in a word."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Target:
    """A checked address.

    Attributes:
        url: to send to: the address in the place of the name.
        host: the name, for ``Host``, and for the certificate.
        port: TCP.
    """

    url: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Of the ``Host`` header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == 443 else f"{name}:{self.port}"


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, also where IPv6 carries an IPv4 one."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo or (None, None))[1]
        if inner is not None:
            return inner.is_global and not inner.is_multicast
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed not in _GLOBAL_UNICAST:
            return False
    return parsed.is_global and not parsed.is_multicast


_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def check_form(url: str) -> tuple[str, int, str]:
    """Host, port and what follows them, of an https URL without credentials.

    Raises:
        TargetRefusedError: ``bad_url``.
    """
    if len(url) > MAX_URL_LENGTH or any(ord(c) < 33 or ord(c) > 126 for c in url):
        raise TargetRefusedError("bad_url", "not an ASCII URL of at most 2000 characters")
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise TargetRefusedError("bad_url", "not a URL") from error
    if parts.scheme != "https" or not parts.hostname or parts.fragment:
        raise TargetRefusedError("bad_url", "only https://host/path is allowed")
    if "@" in parts.netloc:
        raise TargetRefusedError("bad_url", "a URL with a user name or password is not allowed")
    query = f"?{parts.query}" if parts.query else ""
    return parts.hostname, port, (parts.path or "/") + query


async def find_target(
    url: str, *, resolve: Resolve | None = None, allowed: IsPublic = is_public
) -> Target:
    """Looks a webhook's URL up.

    Args:
        url: as the client gave it.
        resolve: addresses of a name; the system's resolver if None.
        allowed: which addresses.

    Raises:
        TargetRefusedError: ``bad_url``, ``unresolvable`` or ``not_public``.
    """
    host, port, rest = check_form(url)
    try:
        async with asyncio.timeout(_RESOLVE_SECONDS):
            addresses = await (resolve or _resolve)(host, port)
    except (OSError, UnicodeError) as error:
        raise TargetRefusedError("unresolvable", "its host does not resolve") from error
    if not addresses:
        raise TargetRefusedError("unresolvable", "its host does not resolve")
    if not all(allowed(address) for address in addresses):
        raise TargetRefusedError("not_public", "its host is not at a public address")
    address = addresses[0]
    place = f"[{address}]" if ":" in address else address
    return Target(url=f"https://{place}:{port}{rest}", host=host, port=port)


async def _resolve(host: str, port: int) -> list[str]:
    """In threads of its own: names that take long to resolve keep nothing else waiting."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        _RESOLVERS, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return [str(address[0]) for *_, address in found]
