"""Connections to servers and buckets, by the environment variables that their own tools read."""

from __future__ import annotations

import base64
import configparser
import json
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore import store as kinds

from paper_unet.errors import InputError, shown
from paper_unet.system.address import Address

STALL = 20.0
"""Seconds without a byte after which a request has stalled."""

CONNECT = 10.0
"""Seconds that connecting may take."""

WHOLE = 900.0
"""Seconds that a request may take in all, however steadily bytes come."""

YES = ("1", "true", "yes", "on")

_KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
"""Variables of which each says where the keys of S3 come from."""


def connect(address: Address) -> Any:
    """Return the obstore store of an address: what is in it has names below the address.

    Raises
    ------
    InputError
        If the environment says something that cannot be.
    """
    make = {"s3": _s3, "gs": _gs}.get(address.scheme, _http)
    try:
        return make(address)
    except InputError:
        raise
    except Exception as error:  # its message may show the address, or a key
        kind = type(error).__name__
    raise InputError(f"{address}: cannot be connected to ({kind}); check how it is written")


def _client(*, allow_http: bool) -> Any:
    return {
        "allow_http": allow_http,
        "connect_timeout": timedelta(seconds=CONNECT),
        "read_timeout": timedelta(seconds=STALL),
        "timeout": timedelta(seconds=WHOLE),
        "user_agent": "paper-unet",
    }


_ONCE: Any = {"max_retries": 0}
"""Requests are tried again by `paper_unet.images.remote.patience`, which sees more failures."""


def _http(address: Address) -> Any:
    client = _client(allow_http=address.scheme == "http")
    if address.user:
        user, _, password = address.user.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        client["default_headers"] = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return kinds.HTTPStore.from_url(
        address.with_secrets(), client_options=client, retry_config=_ONCE
    )


def _s3(address: Address) -> Any:
    config: Any = {}
    if _is_yes("AWS_NO_SIGN_REQUEST"):
        config["skip_signature"] = True
    elif not any(os.environ.get(name) for name in _KEYS) and not _is_yes("AWS_SKIP_SIGNATURE"):
        config |= _of_profile(address)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config["endpoint"] = _checked(address, "AWS_ENDPOINT_URL", endpoint)
    plain = bool(endpoint) and urlsplit(str(endpoint)).scheme == "http"
    return kinds.S3Store(
        address.host, prefix=address.path or None, config=config,
        client_options=_client(allow_http=plain or _is_yes("AWS_ALLOW_HTTP")),
        retry_config=_ONCE,
    )  # fmt: skip


def _gs(address: Address) -> Any:
    config: Any = {}
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if _is_yes("GS_NO_SIGN_REQUEST") or _is_yes("GOOGLE_SKIP_SIGNATURE"):
        config["skip_signature"] = True
    if emulator:
        emulator = emulator if "://" in emulator else f"http://{emulator}"
        config["base_url"] = _checked(address, "STORAGE_EMULATOR_HOST", emulator)
        config["service_account_key"] = json.dumps(
            {"gcs_base_url": emulator, "disable_oauth": True, "client_email": "", "private_key": "",
             "private_key_id": ""}
        )  # fmt: skip
    plain = bool(emulator) and urlsplit(str(emulator)).scheme == "http"
    return kinds.GCSStore(
        address.host, prefix=address.path or None, config=config,
        client_options=_client(allow_http=plain), retry_config=_ONCE,
    )  # fmt: skip


def _is_yes(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in YES


def _checked(address: Address, name: str, url: str) -> str:
    if not urlsplit(url).netloc or urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{address}: {name} is {shown(url)!r}; give it as https://HOST")
    return url.rstrip("/")


def _of_profile(address: Address) -> dict[str, str]:
    """Return the keys and the region in the files of AWS's tools; nothing if they have none."""
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    found: dict[str, str] = {}
    for section in _sections(name or "default"):
        found |= section
    keys = {
        key.removeprefix("aws_"): found[key]
        for key in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        if key in found
    }
    if name and len(keys) < 2:
        raise InputError(
            f"{address}: the profile {shown(name)} of AWS_PROFILE has no keys in the files of "
            "AWS's tools; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, as aws configure "
            "export-credentials gives them"
        )
    if "region" in found and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & os.environ.keys():
        keys["region"] = found["region"]
    return keys


def _sections(name: str) -> Iterator[Mapping[str, str]]:
    """Yield what the files of AWS's tools say of a profile."""
    files = (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials"))
    for variable, file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(Path(os.environ.get(variable) or f"~/.aws/{file}").expanduser())
        except (configparser.Error, OSError, UnicodeDecodeError, RuntimeError):
            continue
        for section in (name, f"profile {name}"):
            if parser.has_section(section):
                yield dict(parser[section])
