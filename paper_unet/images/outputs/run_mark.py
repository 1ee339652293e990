"""Which run writes an output in a bucket: an object beside it, which each process looks at."""

from __future__ import annotations

import json
from typing import Any

from paper_unet.errors import InputError
from paper_unet.images.remote.store import RemoteStore
from paper_unet.system.address import Address
from paper_unet.system.names import UNFINISHED

MARK = "paper_unet"


class RunMark:
    """The object with ``.partial`` behind the name of an output.

    Parameters
    ----------
    address : Address
        Of the output.
    """

    def __init__(self, address: Address) -> None:
        self._store = RemoteStore(address.parent, read_only=False)
        self._key = address.path.rpartition("/")[2] + UNFINISHED

    def read(self) -> dict[str, Any]:
        """Return what is said of the run that writes there; nothing if none does.

        Raises
        ------
        InputError
            If something else has the name.
        """
        data = self._store.fetch(self._key)
        if data is None:
            return {}
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, dict) or MARK not in found:
            raise InputError(
                f"{self._store.named(self._key)}: an object that no run is known to have made is "
                "in the way and stays as it is; remove it, or choose another output name"
            )
        return found

    def write(self, owner: str, run: str) -> None:
        """Say that a run writes there, and by what its journal knows it."""
        about = {MARK: "partial", "owner": owner, "run": run}
        self._store.write(self._key, json.dumps(about).encode())

    def remove(self) -> None:
        """Say that no run writes there any more."""
        self._store.remove([self._key])
