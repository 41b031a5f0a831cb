"""Where a release is: a folder or a URL prefix, shown in messages without its secrets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from flux_assets.errors import ReleaseError
from flux_assets.locality import is_local_host

_HTTP = {"http", "https"}
_PLAIN = {"http", "ftp"}


@dataclass(frozen=True)
class Address:
    """A folder or URL prefix as configured. Its user, password and query are secrets: nothing shows them."""

    text: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    @cached_property
    def _parts(self) -> SplitResult:
        return urlsplit(self.text)

    @cached_property
    def scheme(self) -> str:
        """`file` for a folder, otherwise the URL's scheme in lower case."""
        return self._parts.scheme.lower() if "://" in self.text else "file"

    @property
    def is_http(self) -> bool:
        return self.scheme in _HTTP

    @property
    def folder(self) -> Path | None:
        """The folder, when the release is in one."""
        if self.scheme != "file":
            return None
        return Path(unquote(self._parts.path) if "://" in self.text else self.text).expanduser()

    @property
    def shown(self) -> str:
        """The address without user, password, query and fragment."""
        if self.folder is not None:
            return str(self.folder)
        host = self._parts.netloc.rpartition("@")[2]
        return f"{self._parts.scheme}://{host}{self._parts.path}"

    @property
    def last_segment(self) -> str:
        """The last segment of the path: a release's version label, unless one is configured."""
        path = str(self.folder.absolute()) if self.folder is not None else unquote(self._parts.path)
        named = [segment for segment in path.split("/") if segment not in {"", "."}]
        return named[-1] if named else self._parts.netloc.rpartition("@")[2]

    def file(self, name: str) -> Address:
        """Return the address of a file below this one; a query, which may hold a signature, stays at the end."""
        if self.folder is not None:
            return Address(str(self.folder / name))
        below = quote(name) if self.is_http else name
        return Address(self._parts._replace(path=f"{self._parts.path.rstrip('/')}/{below}", fragment="").geturl())

    def _scrubbed(self, text: str) -> str:
        """Return `text` (of another library's error) without this address's secrets."""
        user, at, _ = self._parts.netloc.rpartition("@")
        secrets = [self._parts.query, unquote(self._parts.query)]
        if at:
            secrets += [user, unquote(user), self._parts.password or "", unquote(self._parts.password or "")]
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def describe(self, error: BaseException) -> str:
        """Return kind and first line of another library's error, bounded and without this address's secrets."""
        lines = self._scrubbed(str(error)).strip().splitlines()
        return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__

    def check(self) -> None:
        """Raise ReleaseError for an address that would be read over a network in the clear, or names no host."""
        if "::" in self.text.partition("://")[0]:
            raise ReleaseError(f"{self.shown} is a chain of addresses.", "Set FLUX_RELEASE to the last of them alone.")
        if self.is_http and not self._parts.hostname:
            raise ReleaseError(f"{self.shown} names no host.", "Set FLUX_RELEASE to https://host/path.")
        if self.scheme in _PLAIN and not is_local_host(self._parts.hostname or ""):
            raise ReleaseError(f"{self.shown} would be read unencrypted.", "Set FLUX_RELEASE to the https:// address.")
