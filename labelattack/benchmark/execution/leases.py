"""Leases of cells, among all processes and machines that share a store."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from filelock import SoftFileLease, Timeout

from labelattack.errors import StoreError

LEASE = 60.0
"""Seconds after which a lease that nobody renews may be taken by another process."""


class Leases:
    """The claims of this process; entering and leaving gives back what is still held.

    Each is a small file that a thread renews. The claim of a process that is gone on this machine
    is free at once; one of another machine when it has not been renewed for as long as the lease.
    A process that was suspended for longer may find its cell computed twice, with equal results.

    Args:
        folder: Folder of the claims.
        lease: Seconds; the same for all who share the store.
    """

    def __init__(self, folder: Path, lease: float = LEASE) -> None:
        self._folder = folder
        self._lease = lease
        # Refused ones too: each remembers since when it has seen no sign of life of the holder.
        self._known: dict[str, SoftFileLease] = {}

    def acquire(self, key: str) -> bool:
        """Leases a cell if nobody else holds it.

        Raises:
            StoreError: If the claim cannot be written.
        """
        claim = self._known.get(key)
        if claim is None:
            path = self._folder / f"{key}.claim"
            claim = SoftFileLease(path, lease_duration=self._lease, thread_local=False)
            self._known[key] = claim
        try:
            self._folder.mkdir(exist_ok=True)
            claim.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise StoreError(f"claim '{claim.lock_file}' cannot be written: {error}") from error
        return True

    def release(self, key: str) -> None:
        """Frees a cell, if it is held."""
        claim = self._known.pop(key, None)
        if claim is not None and claim.is_locked:
            claim.release(force=True)

    def __enter__(self) -> Leases:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for key in list(self._known):
            self.release(key)
