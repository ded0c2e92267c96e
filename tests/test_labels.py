import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from labelattack.errors import LabelError, UnknownNameError
from labelattack.labels import (
    LabelTable,
    PartialLabels,
    decode,
    encode,
    read_labels,
    write_labels,
)

ENCODINGS = ["signed", "missing", "nan"]


@st.composite
def partial_labels(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8))
    values, observed = (draw(arrays(np.bool_, shape)) for _ in range(2))
    return PartialLabels(values, observed)


@given(partial_labels(), st.sampled_from(ENCODINGS))
def test_encoding_round_trip(labels, encoding):
    assert decode(encode(labels, encoding), encoding) == labels


@given(partial_labels())
def test_masks_partition_the_matrix(labels):
    total = labels.positives.astype(int) + labels.negatives + labels.hidden
    assert (total == 1).all()


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz"])
@given(labels=partial_labels(), encoding=st.sampled_from(ENCODINGS))
def test_file_round_trip(tmp_path_factory, suffix, labels, encoding):
    images, classes = labels.shape
    table = LabelTable(
        labels, [f"img {i}" for i in range(images)], [f"c,{i}" for i in range(classes)]
    )
    path = tmp_path_factory.mktemp("labels") / f"labels{suffix}"
    write_labels(path, table, encoding)
    found = read_labels(path, encoding)
    assert found.labels == labels
    if suffix != ".npy":
        assert (found.ids, found.classes) == (table.ids, table.classes)


def test_hidden_values_are_zeroed_and_arrays_read_only():
    labels = PartialLabels(np.ones((2, 2), bool), np.eye(2, dtype=bool))
    assert not labels.values[0, 1]
    with pytest.raises(ValueError):
        labels.values[0, 0] = False


def test_rows_without_labels_are_legal():
    labels = decode(np.zeros((3, 2)), "signed")
    assert labels.hidden.all()


def test_foreign_value_is_named_with_its_place():
    with pytest.raises(LabelError, match=r"got 7 at row 1, column 0"):
        decode(np.array([[0, 1], [7, 0]]), "binary")


def test_minus_one_is_never_guessed():
    with pytest.raises(LabelError, match="binary"):
        decode(np.array([[0, -1]]), "binary")


def test_unknown_encoding_is_suggested():
    with pytest.raises(UnknownNameError, match="did you mean 'signed'"):
        decode(np.zeros((1, 1)), "singed")


def test_binary_cannot_hold_hidden_labels():
    with pytest.raises(LabelError, match="binary"):
        encode(decode(np.zeros((1, 1)), "signed"), "binary")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "header"),
        ("id,a,b\nx,1\n", "line 2 must have 3 cells, got 2"),
        ("id,a\nx,cat\n", "cat"),
        ("id,a\nx,\n", "nan"),
    ],
)
def test_bad_csv_names_file_and_reason(tmp_path, text, reason):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=reason) as caught:
        read_labels(path, "binary")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".txt"])
def test_unreadable_file_is_a_label_error(tmp_path, suffix):
    path = tmp_path / f"bad{suffix}"
    with pytest.raises(LabelError):
        read_labels(path, "binary")
    path.write_bytes(b"not an array")
    with pytest.raises(LabelError):
        read_labels(path, "binary")


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LabelError, match="cannot be read"):
        read_labels(path, "binary")
