"""``labelattack.attack``: labels in every kind of container, and back in the same kind."""

import base64
import doctest
import io
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

import labelattack
from labelattack import PartialLabels, attacks
from labelattack.attacks import ConfidenceAttack, TargetedAttack
from labelattack.attacks.budget import Budget, at_budget
from labelattack.errors import (
    AttackError,
    LabelAttackError,
    LabelError,
    ParameterError,
    UnknownNameError,
)
from labelattack.labels.picture import COLOURS
from labelattack.registry.spec import Spec
from labelattack.testing.attacks import example_knowledge

CODES = {"missing": (1, 0, -1), "signed": (1, -1, 0), "nan": (1, 0, np.nan)}
SPECS = (
    "targeted:rate=0.4",
    "random:rate=0.5",
    "targeted:rate=0.5,keep_negatives=true",
    "block:size=2",
)
BOOLS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7))
SEEDS = st.integers(0, 5)
quick = settings(max_examples=25, deadline=None)


def expected(matrix, spec, seed):
    """What the attack itself leaves of a bool array, as codes 1, 0 and NaN."""
    left = attacks.create(spec)(matrix, seed=seed)
    return np.select([left.positives, left.negatives], [1.0, 0.0], np.nan)


def states(numbers, encoding):
    """Codes 1, 0 and NaN of a matrix in an encoding; fails on a number that is no code."""
    numbers = np.asarray(numbers, dtype=float)
    positive, negative, hidden = CODES[encoding]
    is_hidden = np.isnan(numbers) if np.isnan(hidden) else numbers == hidden
    assert ((numbers == positive) | (numbers == negative) | is_hidden).all()
    return np.select([numbers == positive, numbers == negative], [1.0, 0.0], np.nan)


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted)


# Round trips


@quick
@given(
    BOOLS,
    SEEDS,
    st.sampled_from(SPECS),
    st.sampled_from(["int8", "int64", ">i2", "float16", "float64"]),
)
def test_arrays(matrix, seed, spec, dtype):
    y = matrix.astype(dtype)
    before = y.copy()
    found = labelattack.attack(y, spec, seed=seed)
    assert type(found) is np.ndarray and (found.dtype, found.shape) == (y.dtype, y.shape)
    same(states(found, "nan" if y.dtype.kind == "f" else "missing"), expected(matrix, spec, seed))
    same(y, before)


@quick
@given(
    BOOLS,
    SEEDS,
    st.sampled_from(sorted(CODES)),
    st.sampled_from(["bool", "uint8", "int32", "float32"]),
)
def test_arrays_in_an_encoding(matrix, seed, encoding, dtype):
    found = labelattack.attack(matrix.astype(dtype), SPECS[1], seed=seed, encoding=encoding)
    same(states(found, encoding), expected(matrix, SPECS[1], seed))
    held = {"bool": "", "uint8": "", "int32": "missing signed", "float32": "missing signed nan"}
    other = "float32" if encoding == "nan" else "int8"
    assert found.dtype == (dtype if encoding in held[dtype] else other)


TORCH = ["int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@quick
@given(BOOLS, SEEDS, st.sampled_from(SPECS), st.sampled_from(TORCH))
def test_tensors(matrix, seed, spec, dtype):
    y = torch.from_numpy(matrix).to(getattr(torch, dtype))
    found = labelattack.attack(y, spec, seed=seed)
    assert type(found) is torch.Tensor
    assert (found.dtype, found.device, found.shape) == (y.dtype, y.device, y.shape)
    same(
        states(found.double(), "nan" if y.is_floating_point() else "missing"),
        expected(matrix, spec, seed),
    )
    assert torch.equal(y.bool(), torch.from_numpy(matrix))


def test_tensors_that_need_gradients_or_are_views():
    matrix = np.eye(4, dtype=bool)
    y = torch.from_numpy(matrix).float().T.requires_grad_()
    found = labelattack.attack(y, SPECS[0], encoding="missing")
    assert found.dtype == torch.float32 and not found.requires_grad
    same(states(found, "missing"), expected(matrix, SPECS[0], 0))
    found = labelattack.attack(y.bool(), SPECS[0], encoding="signed")
    assert found.dtype == torch.int8
    same(states(found, "signed"), expected(matrix, SPECS[0], 0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_stay_on_their_device():
    y = torch.eye(4, device="cuda")
    assert labelattack.attack(y, SPECS[0]).device == y.device


PANDAS = {
    "int8": "int8", "int64": "int64", "float32": "float32", "bool": "boolean", "uint8": "UInt8",
    "boolean": "boolean", "Int16": "Int16", "UInt8": "UInt8", "Float64": "Float64",
    "bool[pyarrow]": "bool[pyarrow]", "int32[pyarrow]": "int32[pyarrow]",
}  # fmt: skip


@quick
@given(BOOLS, SEEDS, st.sampled_from(SPECS), st.sampled_from(sorted(PANDAS)))
def test_data_frames(matrix, seed, spec, dtype):
    images, classes = matrix.shape
    index = pd.Index([f"{n}.jpg" for n in range(images)], name="image")
    columns = pd.Index([f"c{n}" for n in range(classes)], name="class")
    y = pd.DataFrame(matrix, index, columns).astype(dtype)
    before = y.copy()
    found = labelattack.attack(y, spec, seed=seed)
    assert {str(d) for d in found.dtypes} == {PANDAS[dtype]}
    pd.testing.assert_index_equal(found.index, index)
    pd.testing.assert_index_equal(found.columns, columns)
    numbers = np.stack([found[c].to_numpy(float, na_value=np.nan) for c in columns], axis=1)
    encoding = "missing" if dtype in ("int8", "int64") else "nan"
    same(states(numbers, encoding), expected(matrix, spec, seed))
    pd.testing.assert_frame_equal(y, before)
    again = labelattack.attack(y, spec, seed=seed, encoding="signed")
    same(states(again.to_numpy(float), "signed"), expected(matrix, spec, seed))


def test_a_data_frame_of_several_types_has_one_encoding():
    y = pd.DataFrame({"a": [1, 0, 1], "b": [1.0, 0.0, np.nan], "c": [True, False, True]})
    found = labelattack.attack(y, "random:rate=0.5")
    assert [str(d) for d in found.dtypes] == ["Int64", "float64", "boolean"]
    assert found.isna().to_numpy().sum() == 5 and pd.isna(found.loc[2, "b"])
    found = labelattack.attack(y, "random:rate=0.5", encoding="missing")
    assert [str(d) for d in found.dtypes] == ["int64", "float64", "int8"]
    assert (found == -1).to_numpy().sum() == 5


FORMATS = ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"]


@quick
@given(
    BOOLS,
    SEEDS,
    st.sampled_from(sorted(CODES)),
    st.sampled_from(FORMATS),
    st.sampled_from(["matrix", "array"]),
    st.sampled_from(["bool", "int64", "float64"]),
)
def test_sparse_matrices(matrix, seed, encoding, layout, what, dtype):
    y = getattr(sp, f"{layout}_{what}")(matrix.astype(dtype))
    found = labelattack.attack(y, SPECS[1], seed=seed, encoding=encoding)
    assert type(found) is type(y) and found.shape == y.shape
    kept = dtype == "float64" or (dtype == "int64" and encoding != "nan")
    assert found.dtype == (dtype if kept else "float32" if encoding == "nan" else "int8")
    same(states(found.toarray(), encoding), expected(matrix, SPECS[1], seed))
    same(y.toarray(), matrix)


def test_many_sparse_labels_take_no_matrix():
    rng = np.random.default_rng(0)
    rows = np.arange(200_000)
    y = sp.csr_array((np.ones(len(rows), np.int8), (rows, rng.integers(0, 50_000, len(rows)))))
    found = labelattack.attack(y, "targeted:rate=0.25", labels_encoding="signed")
    assert found.nnz == 150_000 and found.dtype == np.int8 and found.shape == y.shape


def as_mapping(matrix):
    names = [f"c{n}" for n in range(matrix.shape[1])]
    return names, {
        f"{n}.jpg": [names[c] for c in np.flatnonzero(row)] for n, row in enumerate(matrix)
    }


@quick
@given(BOOLS, SEEDS, st.sampled_from(SPECS), st.sampled_from(sorted(CODES)))
def test_mappings(matrix, seed, spec, encoding):
    names, y = as_mapping(matrix)
    found = labelattack.attack(y, spec, seed=seed, encoding=encoding, class_names=names)
    assert list(found) == list(y)
    absent = 0 if encoding == "signed" else CODES[encoding][1]
    numbers = [[labels.get(name, absent) for name in names] for labels in found.values()]
    same(states(numbers, encoding), expected(matrix, spec, seed))
    assert not any(code == 0 for labels in found.values() for code in labels.values())
    # What comes back can be attacked again.
    again = labelattack.attack(found, "none", labels_encoding=encoding, class_names=names)
    assert str(again) == str(found)


def test_mappings_keep_keys_and_names_as_they_are():
    y = {7: (3, 1), np.int64(8): {1}, 9: np.array([2, 3]), 10: [1, 1]}
    found = labelattack.attack(y, "none", encoding="signed")
    assert found == {
        7: {1: 1, 2: -1, 3: 1},
        8: {1: 1, 2: -1, 3: -1},
        9: {1: -1, 2: 1, 3: 1},
        10: {1: 1, 2: -1, 3: -1},
    }
    assert labelattack.attack({}, "targeted", encoding="signed") == {}


@quick
@given(BOOLS, BOOLS, SEEDS)
def test_partial_labels(matrix, mask, seed):
    rows, columns = (min(a, b) for a, b in zip(matrix.shape, mask.shape, strict=True))
    values, known = matrix[:rows, :columns], mask[:rows, :columns]
    y = PartialLabels(values, known).named([str(n) for n in range(rows)], None)
    found = labelattack.attack(y, SPECS[1], seed=seed)
    assert found == attacks.create(SPECS[1])(y, seed=seed) and found.ids == y.ids
    # The same in every container, with what is not known to begin with.
    wanted = np.select([found.positives, found.negatives], [1.0, 0.0], np.nan)
    for encoding, (positive, negative, hidden) in CODES.items():
        codes = np.where(known, np.where(values, positive, negative), hidden).astype(np.float32)
        for container in (np.asarray, torch.from_numpy, pd.DataFrame, sp.csr_array):
            unsaid = encoding == "nan" and container is not sp.csr_array
            own = {} if unsaid else {"labels_encoding": encoding}
            left = labelattack.attack(container(codes), SPECS[1], seed=seed, **own)
            same(states(left.todense() if sp.issparse(left) else left, encoding), wanted)


def test_missing_values_of_data_frames_are_unknown():
    y = pd.DataFrame({"a": pd.array([1, None], "Int8"), "b": pd.array([None, False], "boolean")})
    found = labelattack.attack(y, "none")
    pd.testing.assert_frame_equal(found, y)


@pytest.mark.parametrize("name", sorted({*attacks.registry.names()} - {"mask"}))
def test_every_attack(name):
    matrix = np.random.default_rng(0).random((40, 6)) < 0.4
    known = example_knowledge(*matrix.shape)
    attack = attacks.create(name)
    given = {need: getattr(known, need) for need in attack.needs}
    found = labelattack.attack(matrix.astype(int), name, seed=2, **given)
    left = attack(matrix, seed=2, knowledge=known)
    same(states(found, "missing"), np.select([left.positives, left.negatives], [1.0, 0.0], np.nan))


def test_label_corruptions_hide_nothing_and_keep_every_kind():
    matrix = np.random.default_rng(0).random((30, 5)) < 0.4
    wanted = attacks.create("flip:positive_rate=0.5")(matrix, seed=1).values
    assert (wanted != matrix).any()
    params = {"positive_rate": 0.5, "seed": 1}
    names, y = as_mapping(matrix)
    assert labelattack.attack(y, "flip", class_names=names, **params) == as_mapping(wanted)[1]
    for container in (np.asarray, torch.from_numpy, sp.csr_matrix, lambda m: m.astype(np.uint8)):
        given = container(matrix)
        found = labelattack.attack(given, "flip", **params)
        assert type(found) is type(given) and found.dtype == given.dtype
        same(found.toarray() if sp.issparse(found) else np.asarray(found), wanted)


def test_attacks_may_be_named_built_or_parsed():
    y = np.eye(5, dtype=int)
    wanted = labelattack.attack(y, "targeted:rate=0.4", seed=3)
    for attack, params in (
        ("targeted", {"rate": 0.4}),
        (Spec.parse("targeted:rate=0.4"), {}),
        (Spec.parse("targeted"), {"rate": 0.4}),
        (TargetedAttack(rate=0.4), {}),
    ):
        same(labelattack.attack(y, attack, seed=np.int64(3), **params), wanted)


def test_budgets():
    matrix = np.random.default_rng(0).random((60, 8)) < 0.3
    for budget in ("entries=0.3", "positives=0.5"):
        found = labelattack.attack(matrix.astype(int), "random", seed=1, budget=budget)
        left = at_budget(
            attacks.create("random"), Budget.parse(budget), PartialLabels.full(matrix), seed=1
        )
        same(found, np.where(left.labels.observed, matrix, -1))
        same(
            found,
            labelattack.attack(matrix.astype(int), "random", seed=1, budget=Budget.parse(budget)),
        )


# Knowledge


def test_knowledge_is_an_array_a_data_frame_or_a_file(tmp_path):
    rng = np.random.default_rng(0)
    matrix, scores = (rng.random((20, 4)) < 0.5).astype(int), rng.random((20, 4)).astype(np.float32)
    ids, names = [f"{n}.jpg" for n in range(20)], list("abcd")
    table = pd.DataFrame(scores, ids, names).sample(frac=1, random_state=0)[list("dbca")]
    table.to_csv(tmp_path / "scores.csv", index_label="image_id")
    named = {"image_ids": ids, "class_names": names}
    wanted = labelattack.attack(matrix, "confidence", scores=scores)
    left = matrix[wanted >= 0]
    assert left.sum() == round(0.6 * matrix.sum())
    assert scores[wanted == 1].max() < scores[(wanted == -1) & (matrix == 1)].min()
    for known in (torch.from_numpy(scores), scores.tolist()):
        same(labelattack.attack(matrix, "confidence", scores=known), wanted)
    for known in (table, tmp_path / "scores.csv", str(tmp_path / "scores.csv")):
        same(labelattack.attack(matrix, "confidence", scores=known, **named), wanted)
    frame = pd.DataFrame(matrix, ids, names)
    same(labelattack.attack(frame, "confidence", scores=table).to_numpy(), wanted)
    spec = f"confidence:scores={tmp_path / 'scores.csv'}"
    same(labelattack.attack(frame, spec).to_numpy(), wanted)
    same(labelattack.attack(matrix, ConfidenceAttack(), scores=scores), wanted)
    groups = pd.Series({name: f"p{n // 5}" for n, name in enumerate(ids)})
    by_name = labelattack.attack(frame, "group-block", groups=groups[::-1])
    same(by_name.to_numpy(), labelattack.attack(matrix, "group-block", groups=list(groups)))
    assert {len(set(map(tuple, by_name[n : n + 5].eq(-1).to_numpy()))) for n in (0, 5, 10, 15)} == {
        1
    }


@pytest.mark.parametrize(
    ("attack", "params", "error", "message"),
    [
        ("confidence", {}, AttackError, r"confidence:scores=FILE .*, or pass an array as scores="),
        ("size-biased", {}, AttackError, "needs the share of each image"),
        ("confidence", {"scores": np.ones((2, 2))}, AttackError, r"must have shape \(3, 2\)"),
        ("confidence", {"scores": np.full((3, 2), 7.0)}, LabelError, r"from 0 to 1, got 7 \(6 such\)"),
        ("confidence", {"scores": [["a", "b"]] * 3}, LabelError, "scores must be numbers"),
        ("confidence", {"scores": pd.DataFrame(np.ones((3, 2)))}, LabelError, "matched by name"),
        ("confidence", {"scores": "no.csv"}, LabelError, "must name their images"),
        ("confidence:scores=no.csv", {"scores": np.ones((3, 2))}, ParameterError, "a file gives it too"),
        ("targeted", {"scores": np.ones((3, 2))}, ParameterError, "it is not used"),
        ("group-block", {"groups": ["a", None, "b"]}, LabelError, "groups: names must be text"),
        ("worst-of", {}, ParameterError, "is a set of attacks; give one of them: 'targeted'"),
        ("targeted", {"rte": 1}, ParameterError, "did you mean 'rate'"),
        ("targeted:rate=1", {"rate": 1}, ParameterError, "must be given once"),
        ("targetted", {}, UnknownNameError, "did you mean 'targeted'"),
        (TargetedAttack(), {"rate": 1}, ParameterError, "an attack that is built already, got 'rate'"),
        (TargetedAttack, {}, ParameterError, "must be a spec such as"),
        ("targeted", {"seed": -1}, ParameterError, "seed must be an integer from 0, got -1"),
        ("targeted", {"seed": 0.5}, ParameterError, "seed must be an integer from 0, got 0.5"),
        ("targeted", {"budget": "all"}, ParameterError, "budget must be positives=SHARE"),
        ("flip", {"budget": "positives=0.5"}, AttackError, "which changes labels"),
        ("targeted", {"encoding": "sined"}, UnknownNameError, "did you mean 'signed'"),
        ("targeted", {"encoding": "binary"}, LabelError, "must have no hidden labels"),
    ],
)  # fmt: skip
def test_wrong_arguments(attack, params, error, message):
    with pytest.raises(error, match=message):
        labelattack.attack(np.eye(3, 2, dtype=int), attack, **params)


def test_names_of_pandas_must_match():
    y = pd.DataFrame(np.eye(2, dtype=int), ["a", "b"], ["x", "y"])
    for scores, message in (
        (pd.DataFrame(np.ones((2, 2)), ["a", "c"], ["x", "y"]), "every image .* none for 'b'"),
        (
            pd.DataFrame(np.ones((2, 3)), ["a", "b"], ["x", "y", "z"]),
            "no class without labels, got 'z'",
        ),
        (pd.DataFrame(np.ones((3, 2)), ["a", "a", "b"], ["x", "y"]), "an image must occur once"),
    ):
        with pytest.raises(LabelError, match=f"scores: .*{message}"):
            labelattack.attack(y, "confidence", scores=scores)


# What could be misread


EYE = np.eye(2, dtype=int)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (EYE - 1, "got -1 at row 0, column 1 .* fit encoding 'signed' and 'missing'; labels_enc"),
        (np.array([[1, 0], [-1, 0]]), r"got -1 at row 1, column 0 \(1 such .* 'missing' and 'signed'|'signed' and"),
        (EYE * 2, "must be one of 1, 0, got 2 at row 0, column 0"),
        (EYE * 0.5, "got 0.5 at row 0, column 0"),
        (np.array([0, 4, 2]), r"got int64 \(3,\); numbers of classes must be made a row"),
        (np.zeros((2, 2, 2), int), r"\[images, labels\], got int64 \(2, 2, 2\)"),
        (np.array([["cat", "dog"]]), "numeric matrix .* got <U3 .* 'cat' first"),
        (EYE.astype(object), "got object .* 1 first"),
        (EYE.astype(complex), "got complex128"),
        (np.ma.masked_array(EYE, mask=EYE), "without a mask"),
        (EYE.tolist(), r"got list; numpy.asarray\(y\)"),
        (None, "y must be a NumPy array, .* got NoneType"),
        (pd.Series([["a"]], ["x"]), r"got Series; y.to_dict\(\)"),
        (torch.tensor([1, 0]), "numbers of classes must be made"),
        (torch.eye(2).to_sparse(), "must be a dense tensor"),
        (-torch.eye(2), "got -1 at row 0, column 0"),
        (pd.DataFrame({"id": ["a.jpg"], "cat": [1]}), r"column 'id' must hold numbers .* 'a.jpg' first; .* y.set_index\('id'\)"),
        (pd.DataFrame({"cat": [1, -1]}, ["x", "y"]), r"got -1 at row 1 \('y'\), column 'cat'"),
        (pd.DataFrame(EYE, columns=["a", "a"]), "a class must occur once, got 'a' at column 0 and"),
        (pd.DataFrame(EYE, index=["a", "a"]), "an image must occur once, got 'a' at row 0 and"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "must be dense"),
        (pd.DataFrame({"a": [True, None]}), "convert_dtypes"),
        (sp.csr_array(2 * EYE), "got 2 at row 0, column 0"),
        (sp.coo_array(([1, 1], ([0, 0], [1, 1])), shape=(2, 2)), "got 2 at row 0, column 1"),
        (sp.csr_array(-EYE), "got -1 at row 0, column 0"),
        ({"a": "cat"}, "must be lists of classes, got 'cat' for image 'a'"),
        ({"a": ["cat", None]}, "a class must have a name, .* got none at image 'a'"),
        ({"a": ["cat"], "b": {"cat": 1}}, "must be mappings to codes"),
        ({"a": {"cat": 1}}, "labels_encoding must be given"),
        ({"a": ["x"], "./a": ["y"]}, "an image must occur once"),
        ({1: ["x"], "1": ["y"]}, "an image must occur once"),
        ({None: ["x"]}, "images of a mapping: names must be text"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_what_could_be_misread_is_refused(y, message):
    with pytest.raises(LabelError, match=message):
        labelattack.attack(y, "targeted", encoding="missing")


@pytest.mark.parametrize(
    ("y", "params", "message"),
    [
        ({"a": ["cat", "dgo"]}, {"class_names": ["cat", "dog"]}, "one of the 2 listed, got 'dgo' at image 'a' .*did you mean 'dog'"),
        ({"a": {"cat": "1"}}, {"labels_encoding": "signed"}, "must be 1, 0, -1 or NaN, got '1' for image 'a', class 'cat'"),
        ({"a": {"cat": 0.5}}, {"labels_encoding": "nan"}, "got 0.5 for image 'a', class 'cat'"),
        ({"a": {"cat": -1}}, {"labels_encoding": "nan"}, "got -1 at image 'a', class 'cat'"),
        ({"a": {1: 1, "1": 0}}, {"labels_encoding": "missing"}, "a class must be given once .* image 'a'"),
        ({"a": ["b"]}, {"image_ids": ["a"]}, "image_ids must be left out for a mapping"),
        (EYE, {"class_names": ["a"]}, "class_names must be 2 names, got 1"),
        (EYE, {"class_names": "ab"}, "class_names must be a list of names, got 'ab'"),
        (EYE, {"class_names": ["a", "a"]}, "a class must occur once"),
        (EYE, {"image_ids": ["a", 0.5]}, "image_ids: names must be text or whole numbers, got 0.5"),
        (EYE, {"labels_encoding": "nan", "encoding": "x"}, "unknown label encoding 'x'"),
        (EYE, {"labels_encoding": "x"}, "unknown label encoding 'x'"),
        (EYE * 1.0 - 1, {"labels_encoding": "binary"}, "encoding 'binary' must be one of 1, 0, got -1"),
        (np.where(EYE, 1, np.nan), {"labels_encoding": "missing"}, "must be one of 1, 0, -1"),
        (pd.DataFrame(EYE), {"class_names": ["a", "b"]}, "must be left out for a data frame"),
        (PartialLabels.full(EYE > 0), {"encoding": "signed"}, "encoding must be left out for Partial"),
        (PartialLabels.full(EYE > 0), {"labels_encoding": "nan"}, "must be left out for PartialLabels"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_names_and_encodings(y, params, message):
    with pytest.raises(LabelAttackError, match=message):
        labelattack.attack(y, "targeted", **params)


@pytest.mark.parametrize(
    "y",
    [EYE > 0, EYE.astype(np.uint16), torch.eye(2).bool(), sp.csr_array(EYE), {"a": ["b"]}],
    ids=lambda y: type(y).__name__,
)
def test_without_room_for_what_is_hidden_the_encoding_must_be_said(y):
    with pytest.raises(LabelError, match=r"encoding must be given for .*'missing'.*"):
        labelattack.attack(y, "targeted")
    assert labelattack.attack(y, "targeted", encoding="missing") is not None


# Partial labels


@quick
@given(BOOLS, st.data())
def test_images_are_chosen_as_of_an_array(matrix, data):
    count = len(matrix)
    labels = attacks.create("random")(matrix, seed=0).named([f"i{n}" for n in range(count)], None)
    images = data.draw(
        st.one_of(
            st.slices(count),
            st.lists(st.integers(-count, count - 1)),
            arrays(np.bool_, count),
            arrays(np.int16, 3, elements=st.integers(-count, count - 1)),
        )
    )
    rows = np.arange(count)[images if not isinstance(images, list) else np.array(images, int)]
    found = labels[images]
    same(found.values, labels.values[rows])
    same(found.observed, labels.observed[rows])
    assert list(found.ids) == [f"i{row}" for row in rows] and found.classes is None


def test_images_that_cannot_be_chosen():
    labels = PartialLabels.full(np.eye(3, dtype=bool)).named(None, ["a", "b", "c"])
    assert labels[1:].classes == ["a", "b", "c"] and labels[1:].ids is None
    for images, message in (
        (1, r"got 1; labels\[3:4\] has one image"),
        ((0, 1), "take_classes"),
        ([0, 3], r"must be in -3..2, got 3"),
        (np.array([True]), "must be 3 long, got 1"),
        ([0.5], "must be a slice, positions or a mask"),
        ("a", "must be a slice, positions or a mask"),
    ):
        with pytest.raises(LabelError, match=message):
            labels[images]
    with pytest.raises(TypeError):
        iter(labels)
    with pytest.raises(LabelError, match="partial labels are no array"):
        np.asarray(labels)


@quick
@given(BOOLS, SEEDS, st.sampled_from(sorted(CODES)))
def test_tensors_and_data_frames_of_partial_labels(matrix, seed, encoding):
    labels = attacks.create("random")(matrix, seed=seed)
    wanted = np.select([labels.positives, labels.negatives], [1.0, 0.0], np.nan)
    tensor = labels.to_torch(encoding)
    assert tensor.dtype == (torch.float32 if encoding == "nan" else torch.int8)
    same(states(tensor, encoding), wanted)
    half = labels.to_torch(encoding, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    same(states(half.float(), encoding), wanted)
    names = [f"c{n}" for n in range(matrix.shape[1])]
    frame = labels.named([f"i{n}" for n in range(len(matrix))], names).to_frame(encoding)
    same(states(frame.to_numpy(), encoding), wanted)
    assert list(frame.columns) == names and frame.index[0] == "i0"
    assert list(labels.to_frame(encoding).columns) == list(range(matrix.shape[1]))


def test_types_that_cannot_hold_what_is_hidden():
    labels = attacks.create("random")(np.eye(3, dtype=bool), seed=0)
    for encoding, dtype in (("missing", torch.bool), ("signed", torch.uint8), ("nan", torch.int64)):
        with pytest.raises(LabelError, match=f"dtype must hold the codes of encoding '{encoding}'"):
            labels.to_torch(encoding, dtype)
    with pytest.raises(LabelError, match="must have no hidden labels"):
        labels.to_torch("binary")
    whole = PartialLabels.full(np.eye(3, dtype=bool))
    assert whole.to_torch("binary", torch.bool).equal(torch.eye(3).bool())


class _Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def drawn(labels):
    """Page of a picture, and the state of each entry that is drawn."""
    page = _Page(labels._repr_html_())
    assert not page.open and {tag for tag, _ in page.tags} <= {"div", "img", "span", "br", "small"}
    assert "http" not in labels._repr_html_() and "url(" not in labels._repr_html_()
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    if not sources:
        return page, None
    assert sources[0].startswith("data:image/png;base64,")
    data = base64.b64decode(sources[0].partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    codes = [[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in COLOURS.values()]
    found = np.stack([(pixels == code).all(axis=2) for code in codes])
    assert (found.sum(axis=0) == 1).all()
    return page, found


@quick
@given(BOOLS, SEEDS)
def test_the_picture_is_the_matrix(matrix, seed):
    labels = attacks.create("random")(matrix, seed=seed)
    page, found = drawn(labels)
    for state, name in zip(found, ("positives", "negatives", "hidden"), strict=True):
        same(state.T, getattr(labels, name))
        assert f"{name.rstrip('s')} {getattr(labels, name).sum()}" in page.text
    assert "drawn:" not in page.text


def test_a_large_matrix_is_drawn_in_part_and_says_so():
    matrix = np.random.default_rng(0).random((5000, 300)) < 0.2
    labels = attacks.create("targeted")(matrix, seed=0)
    page, found = drawn(labels)
    assert found.shape == (3, 200, 600)
    assert (
        "drawn: 600 of 5,000 images and 200 of 300 classes, evenly spaced; counts are of all"
        in page.text
    )
    rows, columns = np.arange(600) * 5000 // 600, np.arange(200) * 300 // 200
    same(found[0].T, labels.positives[rows][:, columns])
    assert f"hidden {labels.hidden.sum():,}" in page.text
    assert len(labels._repr_html_()) < 100_000


def test_nothing_is_drawn_of_no_labels():
    page, found = drawn(PartialLabels.full(np.zeros((0, 3), bool)))
    assert found is None and "0 images" in page.text


def test_colours_differ_in_brightness():
    def brightness(colour):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    levels = sorted(brightness(colour) for colour in COLOURS.values())
    ratios = [(b + 0.05) / (a + 0.05) for a, b in pairwise(levels)]
    assert min(ratios) > 1.8


# What it takes, and what is shown


def test_arrays_are_attacked_without_heavy_libraries():
    code = (
        "import sys, numpy, labelattack\n"
        "labelattack.attack(numpy.eye(3, dtype=int), 'targeted')\n"
        "heavy = {'torch', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'art'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_runs(pytestconfig, capsys):
    run = runpy.run_path(str(pytestconfig.rootpath / "examples" / "attack_labels.py"))
    assert (run["frame_left"] == -1).to_numpy().sum() and run["tensor_left"].isnan().any()
    assert set(run["tags_left"]) == set(run["tags"]) and "hidden" in capsys.readouterr().out


def test_the_example_of_the_docstring_is_true():
    assert doctest.testmod(sys.modules[labelattack.attack.__module__]) == (0, 3)


def test_the_page_runs(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "your-labels-in-python.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 60
    known = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(block, known)
        for line in block.splitlines():
            if wanted := re.fullmatch(r"(.+?)  # -> (.+)", line):
                assert str(eval(wanted[1], known)) == wanted[2], line
