"""The address of something on a network, without what is secret in it where it can be seen."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from paper_unet.errors import InputError

HTTP: Final = ("http", "https")
BUCKETS: Final = ("s3", "gs")

_ADDRESS = re.compile(r"(https?|s3|gs|gcs):/(?:/|(?=[^/]))(.*)", re.I | re.S)


@dataclass(frozen=True)
class Address:
    """A place on a network: ``https://HOST/PATH``, ``s3://BUCKET/KEY`` or ``gs://BUCKET/KEY``.

    As text it has neither user and password nor what follows a question mark, which often is a
    signature: text goes into messages, logs and records.

    Attributes
    ----------
    scheme : {"http", "https", "s3", "gs"}
    host : str
        Server, with its port; or bucket.
    path : str
        Without slashes around it; of a server as it was given, with its percent signs.
    user, query : str
        Secret; empty where there is none.
    """

    scheme: str
    host: str
    path: str
    user: str = field(default="", repr=False)
    query: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}/{self.path}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return unquote(self.path.rpartition("/")[2])

    @property
    def in_bucket(self) -> bool:
        """Whether it is a key of a bucket, where objects are listed and written."""
        return self.scheme in BUCKETS

    def with_secrets(self) -> str:
        """Return the whole address of a server, for who connects to it; never to be shown."""
        path = quote(self.path, safe="/%:@!$&'()*+,;=~")
        return f"{self.scheme}://{self.host}/{path}" + (f"?{self.query}" if self.query else "")

    @property
    def parent(self) -> Address:
        """What it lies in."""
        return Address(self.scheme, self.host, self.path.rpartition("/")[0], self.user, self.query)

    def __truediv__(self, inside: str) -> Address:
        path = "/".join(part for part in (self.path, inside.strip("/")) if part)
        return Address(self.scheme, self.host, path, self.user, self.query)


def address_of(path: str | os.PathLike[str] | Address) -> Address | None:
    """Return the address that a text is; None if it is the path of a file or folder.

    Parameters
    ----------
    path : str, Path or Address
        A path made of an address, which has lost a slash, is that address unless it is there.

    Raises
    ------
    InputError
        If it names no server or bucket, or has keys of S3 in it.
    """
    if isinstance(path, Address):
        return path
    text = os.fspath(path).strip()
    found = _ADDRESS.fullmatch(text)
    if found is None or (f"{found[1]}://" not in text and os.path.lexists(text)):
        return None
    scheme = {"gcs": "gs"}.get(found[1].lower(), found[1].lower())
    if scheme in BUCKETS:
        return _of_bucket(scheme, found[2])
    rest, _, _ = found[2].partition("#")
    rest, _, query = rest.partition("?")
    authority, _, place = rest.partition("/")
    user, _, host = authority.rpartition("@")
    if re.match(r"[^\[:]*:(?!\d*$)", host):
        raise InputError(
            f"{scheme}://***: what is behind its first colon is no port; in a password, write "
            "/ ? # and @ as %2F %3F %23 and %40"
        )
    if not host.strip(":"):
        raise InputError(f"{scheme}://{host}: names no server; give {scheme}://HOST/PATH")
    return Address(scheme, host, place.strip("/"), user, query)


def _of_bucket(scheme: str, rest: str) -> Address:
    bucket, _, key = rest.partition("/")
    if "@" in bucket:
        variables = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        if scheme == "gs":
            variables = "GOOGLE_APPLICATION_CREDENTIALS"
        raise InputError(
            f"{scheme}://{bucket.rpartition('@')[2]}/{key}: keys are not taken from an address; "
            f"leave out what is before the @, and set {variables} in the environment"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", bucket):
        raise InputError(f"{scheme}://{rest}: names no bucket; give {scheme}://BUCKET/KEY")
    return Address(scheme, bucket, re.sub("/+", "/", key).strip("/"))


def refuse_same_address(source: Address | None, target: Address | None) -> None:
    """Raise InputError if one is the other, or inside it."""
    if source is None or target is None or source.scheme != target.scheme:
        return
    if source.host != target.host:
        return
    one, other = ([part for part in place.path.split("/") if part] for place in (source, target))
    if one == other:
        raise InputError(f"{target}: is the input itself; choose another output")
    if one[: len(other)] == other or other[: len(one)] == one:
        raise InputError(
            f"{target}: lies inside the input {source}, or holds it; choose another output"
        )
