"""Looking after stores: what is wrong with one, what may go, and how two become one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from safetensors import SafetensorError, safe_open

from labelattack.benchmark.store.record import Record
from labelattack.benchmark.store.store import RecordStore, read_record
from labelattack.errors import StoreError
from labelattack.files.storage import PART

STALE = 3600.0  # seconds after which a half-written file is nobody's any more
CIRCUMSTANCES = {
    "created", "seconds", "cpu_seconds", "peak_memory", "commit", "machine", "device", "libraries",
    "preprocessing",
}  # fmt: skip
"""Fields in which two runs of one cell may differ."""

Kind = Literal["damaged record", "damaged weights", "weights without record", "half-written file"]


class Finding(NamedTuple):
    """Something in a store that is not as it should be."""

    kind: Kind | Literal["quarantined record", "abandoned claim"]
    path: Path
    detail: str


def findings(store: RecordStore) -> Iterator[Finding]:
    """Examines every file of a store; changes nothing.

    Args:
        store: The store.

    Yields:
        What is damaged or left over.
    """
    known = set()
    for path in sorted((store.folder / "records").glob("*.json")):
        try:
            known.add(read_record(path).key)
        except StoreError as error:
            yield Finding("damaged record", path, str(error))
    for path in sorted((store.folder / "weights").glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_slice(name)
        except (OSError, SafetensorError) as error:
            yield Finding("damaged weights", path, str(error))
            continue
        if path.stem not in known:
            yield Finding("weights without record", path, "")
    yield from leftovers(store)


def leftovers(store: RecordStore, *, stale: float = STALE) -> Iterator[Finding]:
    """Files that killed processes left, and records that were set aside.

    Args:
        store: The store.
        stale: Age in seconds from which a file that is being written is taken for abandoned.
    """
    now = time.time()
    for path in sorted(store.folder.rglob(f"{PART}*")):
        if now - path.stat().st_mtime > stale:
            yield Finding("half-written file", path, "")
    for path in sorted((store.folder / "claims").glob("*.claim")):
        if now - path.stat().st_mtime > stale:
            yield Finding("abandoned claim", path, "")
    for path in sorted((store.folder / "quarantine").glob("*.json")):
        yield Finding("quarantined record", path, "")


def collect(store: RecordStore, *, stale: float = STALE, dry_run: bool = False) -> list[Finding]:
    """Deletes what nobody needs: leftovers, and weights that have no record.

    Args:
        store: The store.
        stale: See [leftovers][labelattack.benchmark.store.maintenance.leftovers]; also of
            weights, whose record is written after them.
        dry_run: Whether to delete nothing.

    Returns:
        What was, or would be, deleted.
    """
    known = {path.stem for path in (store.folder / "records").glob("*.json")}
    now = time.time()
    orphans = [
        Finding("weights without record", path, "")
        for path in sorted((store.folder / "weights").glob("*.safetensors"))
        if path.stem not in known and now - path.stat().st_mtime > stale
    ]
    found = [*leftovers(store, stale=stale), *orphans]
    for finding in [] if dry_run else found:
        finding.path.unlink(missing_ok=True)
    return found


class Merged(NamedTuple):
    """Result of a merge: records copied, records present, keys whose numbers differ."""

    copied: int
    present: int
    differing: list[str]


def merge(sources: Iterable[RecordStore], into: RecordStore) -> Merged:
    """Copies the intact records of some stores, with their weights, into another.

    Args:
        sources: Where from; they are only read.
        into: Where to. What it holds stays, but a failed record gives way to a finished one.

    Returns:
        What was done. Numbers of one cell may differ in the last digits between processors; its
        key is reported, and the record that was there first is kept.
    """
    copied = present = 0
    differing = []
    for source in sources:
        for record in source:
            there = into.get(record.key)
            if there is not None and (there.status == "done" or record.status == "failed"):
                present += 1
                if _numbers(there) != _numbers(record):
                    differing.append(record.key)
                continue
            weights = source.weights(record.key)
            if weights is not None:
                into.add_weights(record.key, weights)
            into.add(record)
            copied += 1
    return Merged(copied, present, differing)


def _numbers(record: Record) -> dict[str, object]:
    kept = record.model_dump(exclude={*CIRCUMSTANCES, "outcomes", "unread"})
    if record.test is not None:  # an interval may have been asked for in one store only
        kept["test"] = record.test.model_dump(exclude={"map_interval", "resamples"})
    return kept
