"""L48, the Merlin L48 Spectrogram Dataset, official layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelattack.datasets import register
from labelattack.datasets.base import Dataset, Splits, check_once, data_root
from labelattack.datasets.csv_stream import records
from labelattack.datasets.dataset_card import Card, Finding, examined, there
from labelattack.datasets.images import FileImages
from labelattack.datasets.json_stream import items
from labelattack.datasets.official import Listing, absent, assemble, required
from labelattack.errors import DatasetError, shown, unknown
from labelattack.files.label_files import read_array
from labelattack.files.storage import FilePath
from labelattack.labels import BoolArray, PartialLabels

EXPECTED_POSITIVES = 0.84
_TRAIN, _VAL, _TEST = range(3)
_LISTS = ("train", "val", "test")
_FILES = ("taxa.csv", "assets.json", "clips.json", "val_split.npy")
_UNKNOWN, _PRESENT, _ABSENT = range(3)
_STATES = {
    "present_species_codes": _PRESENT,
    "absent_species_codes": _ABSENT,
    "unknown_species_codes": _UNKNOWN,
}
_PRIORS = {"geo": "possible_species_codes", "checklist": "observed_species_codes"}


class _Recordings(NamedTuple):
    """The recordings ("assets").

    Attributes:
        rows: Row of each recording by its id.
        lists: List of each recording, 0 train, 1 val, 2 test, int64 ``[recordings]``.
        targets: Column of the target species, int64 ``[recordings]``.
        excluded: Species that the prior rules out, bool ``[recordings, species]``.
    """

    rows: dict[int, int]
    lists: NDArray[np.int64]
    targets: NDArray[np.int64]
    excluded: BoolArray


class _Clips(NamedTuple):
    """The images ("clips"): files, recordings, and labels as states ``[clips, species]``."""

    files: list[str]
    recordings: NDArray[np.int64]
    states: NDArray[np.uint8]


@register("l48")
@dataclass(frozen=True, kw_only=True)
class L48(Dataset):
    """L48, 100 birds in spectrograms of sound: partial labels as they arise in practice.

    A clip is a window of a recording that was made of one species, its target. In training, a
    target that annotators marked in the clip is a known positive, and all else is unknown;
    ``prior`` adds known negatives. Clips for validation and test have the labels of the annotators:
    present, absent, and unknown where a bird was not recognised. Recordings are never divided. The
    layout follows the description and the code of the authors, and is not verified against the
    archive.

    Args:
        prior: Negatives known in training: ``none``; ``geo``, the species that do not live where
            and when it was recorded; or ``checklist``, those not on the observer's checklist.
        incomplete: Clips for validation and test with unknown labels: ``keep`` them and leave those
            labels out, or ``drop`` them, as the authors evaluate.
        root: Folder that holds ml48s; default LABELATTACK_DATA, else ./data.
        tolerance: Largest share of images that may be missing.
    """

    source: ClassVar[str] = "Sun et al. 2025, NeurIPS Datasets and Benchmarks"
    references: ClassVar[str] = "sun2025"

    prior: Literal["none", "geo", "checklist"] = "none"
    incomplete: Literal["keep", "drop"] = "keep"
    root: FilePath = ""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.01

    def card(self) -> Card:
        """Official lists."""
        return Card(
            title="L48, 100 bird species in spectrograms",
            labels=100,
            images={"train": 85193, "val": 12448, "test": 31365},
            positives_per_image=EXPECTED_POSITIVES,
            splits="train: split train; val: 10 of its recordings a species, in val_split.npy; "
            "test: split test",
            licence="terms of use (TOU.pdf) at the download page",
            home="https://github.com/visipedia/ml48s",
            layout=(*(f"ml48s/{name}" for name in _FILES), "ml48s/images/<recording>/<clip>.jpg"),
            remarks=(
                "in training the target species alone is known; prior=geo or prior=checklist adds "
                "negatives",
                "the authors evaluate on completely labelled clips: incomplete=drop",
            ),
        )

    def load(self) -> Splits:
        """Reads species, recordings and clips and locates the images."""
        listings, species = self._read(drop=self.incomplete == "drop")
        (train, val, test), notes = assemble("l48", self.tolerance, listings)
        return Splits(species, train, val, test, EXPECTED_POSITIVES, notes)

    def examine(self) -> list[Finding]:
        """Compares lists, labels and images with the card."""
        findings = [there(self._folder / name) for name in (*_FILES, "images")]
        if all(finding.fine for finding in findings):
            for listing in self._read(drop=False)[0]:
                findings += examined(self.card(), listing.name, listing.labels, absent(listing))
        return findings

    @property
    def _folder(self) -> Path:
        return data_root(self.root) / "ml48s"

    def _required(self, name: str) -> Path:
        return required("l48", self._folder / name, self.card().layout)

    def _read(self, *, drop: bool) -> tuple[list[Listing], list[str]]:
        """The three lists, and the species."""
        species = _species(self._required("taxa.csv"))
        held = _held_out(self._required("val_split.npy"))
        path = self._required("assets.json")
        recordings = _recordings(path, species, held, _PRIORS.get(self.prior))
        path = self._required("clips.json")
        clips = _clips(path, species, recordings)
        self._required("images")
        names = list(recordings.rows)
        listings = []
        for number, name in enumerate(_LISTS):
            rows = np.flatnonzero(recordings.lists[clips.recordings] == number)
            labels = _annotated(clips.states[rows])
            if number == _TRAIN:
                labels = _of_targets(path, clips, rows, recordings)
            elif drop:
                whole = labels.per_image() == len(species)
                rows, labels = rows[whole], labels.take(np.flatnonzero(whole))
            files = [clips.files[row] for row in rows]
            groups = [str(names[recording]) for recording in clips.recordings[rows]]
            images = FileImages(self._folder, files)
            listings.append(Listing(name, images, files, labels, groups=groups))
        return listings, species


def _annotated(states: NDArray[np.uint8]) -> PartialLabels:
    return PartialLabels(states == _PRESENT, states != _UNKNOWN)


def _of_targets(
    path: Path, clips: _Clips, rows: NDArray[np.int64], recordings: _Recordings
) -> PartialLabels:
    """Labels in training: the target where it is present, and what the prior rules out."""
    of = clips.recordings[rows]
    values = np.zeros(clips.states[rows].shape, dtype=np.bool_)
    every, targets = np.arange(len(rows)), recordings.targets[of]
    values[every, targets] = clips.states[rows, targets] == _PRESENT
    excluded = recordings.excluded[of]
    odd = np.flatnonzero((values & excluded).any(axis=1))
    if len(odd):
        raise DatasetError(
            f"'{path}' must hold no clip whose target is present though it is not on the list of "
            f"its recording, got '{clips.files[rows[odd[0]]]}' ({len(odd)} such)"
        )
    return PartialLabels(values, values | excluded)


def _species(path: Path) -> list[str]:
    """Codes of the species, in the order of the file.

    Raises:
        DatasetError: If the file has no column ``species_code``, or a species without a code or
            twice.
    """
    rows = list(records(path, ("species_code",)))
    codes = [code for _, (code,) in rows]
    if "" in codes:
        line = rows[codes.index("")].line
        raise DatasetError(f"'{path}': a species must have a code, got none at line {line}")
    check_once(f"'{path}': a species", codes, lambda row: f"line {rows[row].line}")
    return codes


def _held_out(path: Path) -> set[int]:
    """Ids of the recordings for validation."""
    try:
        array = read_array(path)
    except Exception as error:  # the reader may raise any exception on a hostile header
        raise DatasetError(f"'{path}' cannot be read: {error}") from error
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DatasetError(
            f"'{path}' must be a list of ids of recordings, got {array.dtype} {array.shape}"
        )
    return {int(asset) for asset in array}


def _recordings(
    path: Path, species: Sequence[str], held: set[int], listed_under: str | None
) -> _Recordings:
    """Reads the recordings.

    Args:
        path: assets.json.
        species: Codes of the species.
        held: Ids of the recordings for validation, all of which must be training recordings.
        listed_under: Field that lists the species which the prior does not rule out; None without.

    Raises:
        DatasetError: If the file is not as described; names the first faulty item.
    """
    columns = {code: column for column, code in enumerate(species)}
    ids, lists, targets, excluded = [], [], [], []
    for place, asset in _objects(path):
        ids.append(_whole(path, place, asset, "id"))
        if asset.get("split") not in ("train", "test"):
            raise _refused(path, place, "train or test as 'split'", asset.get("split"))
        lists.append(_TEST if asset["split"] == "test" else _TRAIN)
        target = asset.get("target_species_code")
        if not isinstance(target, str) or target not in columns:
            raise _strange(path, place, target, columns)
        targets.append(columns[target])
        ruled_out = np.full(len(species), listed_under is not None, dtype=np.bool_)
        # A checklist may have species that are no classes.
        codes = _codes(path, place, asset, listed_under) if listed_under else []
        ruled_out[[columns[code] for code in codes if code in columns]] = False
        excluded.append(ruled_out)
    check_once(f"'{path}': an id", list(map(str, ids)), "item {}".format)
    rows = {asset: row for row, asset in enumerate(ids)}
    odd = sorted(asset for asset in held if asset not in rows or lists[rows[asset]] == _TEST)
    if odd:
        raise DatasetError(
            f"'{path}' must hold the recordings of val_split.npy as training recordings, got none "
            f"with id {odd[0]} ({len(odd)} such)"
        )
    chosen = np.array(lists, dtype=np.int64)
    chosen[[rows[asset] for asset in held]] = _VAL
    return _Recordings(rows, chosen, np.array(targets, dtype=np.int64), np.array(excluded))


def _clips(path: Path, species: Sequence[str], recordings: _Recordings) -> _Clips:
    """Reads the clips as a stream.

    Raises:
        DatasetError: If the file is not as described; names the first faulty item.
    """
    columns = {code: column for column, code in enumerate(species)}
    files, rows, states = [], [], bytearray()
    for place, clip in _objects(path):
        asset, file = _whole(path, place, clip, "asset_id"), clip.get("file_path")
        if asset not in recordings.rows:
            raise _refused(path, place, "an id of assets.json as 'asset_id'", asset)
        if not isinstance(file, str) or not file:
            raise _refused(path, place, "a text as 'file_path'", file)
        states += _states(path, place, clip, columns)
        rows.append(recordings.rows[asset])
        files.append(file if file.startswith("images/") else f"images/{file}")
    check_once(f"'{path}': a file_path", files, "item {}".format)
    matrix = np.frombuffer(bytes(states), dtype=np.uint8).reshape(len(files), len(species))
    return _Clips(files, np.array(rows, dtype=np.int64), matrix)


def _states(path: Path, place: str, clip: dict[str, Any], columns: dict[str, int]) -> bytes:
    """State of each species in a clip; one that is on none of its lists is unknown."""
    states = bytearray(len(columns))
    listed: list[str] = []
    for key, state in _STATES.items():
        codes = _codes(path, place, clip, key)
        listed += codes
        try:
            for code in codes:
                states[columns[code]] = state
        except KeyError as error:
            raise _strange(path, place, error.args[0], columns) from None
    if len(set(listed)) < len(listed):
        twice = next(code for code in listed if listed.count(code) > 1)
        raise _refused(path, place, "each species once in its lists", twice)
    return bytes(states)


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects of the list that the file is, each with its place for messages."""
    number = -1
    for number, entry in enumerate(items(path, "")):
        if not isinstance(entry, dict):
            raise DatasetError(f"'{path}' must hold objects, got {shown(entry)} as item {number}")
        yield f"item {number}", entry
    if number < 0:
        raise DatasetError(f"'{path}' must be a list of objects, got none")


def _whole(path: Path, place: str, entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise _refused(path, place, f"a whole number as '{key}'", value)
    return value


def _codes(path: Path, place: str, entry: dict[str, Any], key: str) -> list[str]:
    codes = entry.get(key)
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise _refused(path, place, f"a list of text as '{key}'", codes)
    return codes


def _strange(path: Path, place: str, code: object, columns: Iterable[str]) -> DatasetError:
    reason = unknown("species", str(code), columns)
    return DatasetError(f"'{path}' must hold species of taxa.csv, got {place}: {reason}")


def _refused(path: Path, place: str, rule: str, got: object) -> DatasetError:
    return DatasetError(f"'{path}' must have {rule}, got {shown(got)} in {place}")
