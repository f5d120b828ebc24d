"""joblib, of scikit-learn, with the program of runtime/ENGINES.md; errors of both packages."""

import inspect
import pickle

import engines_page
import pytest

import edgeport_converter
from edgeport import EdgeportError, InputError, Predictor

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    engines_page.fill(tmp_path)
    return tmp_path


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(folder, backend):
    (program,) = engines_page.blocks("joblib")
    assert "Parallel(n_jobs=2)" in program
    named = program.replace("Parallel(n_jobs=2)", f'Parallel(n_jobs=2, backend="{backend}")')
    done = engines_page.run(program if backend == "loky" else named, folder)
    assert done.stderr == ""
    engines_page.assert_scores(folder)


WRONG = """
from joblib import Parallel, delayed
from edgeport import EdgeportError, Predictor
import numpy as np

predictor = Predictor.load("digits.onnx", threads=1, finite=True)
rows = np.load("rows.npy")
holes = rows.copy()
holes[3, 5] = np.nan
for part in (rows[:, :700], holes):
    try:
        Parallel(n_jobs=2)(delayed(predictor.predict)(part) for _ in range(2))
    except EdgeportError as error:
        print(type(error).__name__, error)
plain = Predictor.load("digits.onnx", threads=1)
open("digits.onnx", "ab").write(b"more")
try:
    Parallel(n_jobs=2)(delayed(plain.predict)(part) for _ in range(2))
except EdgeportError as error:
    print(type(error).__name__, error)
"""


def test_joblib_hands_over_errors_as_themselves(folder):
    done = engines_page.run(WRONG, folder)
    shape, nan, damaged = done.stdout.splitlines()
    assert shape.startswith("InputError input 'pixels' has shape (40, 700), expected (N, 784): ")
    assert nan.startswith("InputError input 'pixels' is nan at [3, 5], expected finite numbers")
    assert damaged.startswith(f"IntegrityError '{folder}/digits.onnx' is damaged: ")


ERRORS = [
    value
    for name, value in inspect.getmembers(edgeport_converter, inspect.isclass)
    if issubclass(value, EdgeportError)
]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_of_the_converter_crosses_processes(kind):
    names = [
        name
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    error = kind("what, found, expected: next", **dict.fromkeys(names, 2.5))
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(back), str(back)) == (kind, "what, found, expected: next")
    assert [getattr(back, name) for name in names] == [2.5] * len(names)


def test_an_artifact_error_keeps_the_path_in_its_sentence(folder):
    (folder / "digits.onnx").write_bytes((folder / "digits.onnx").read_bytes()[:-1])
    with pytest.raises(EdgeportError) as caught:
        Predictor.load(folder / "digits.onnx")
    back = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert str(back) == str(caught.value)
    assert back.path == str(folder / "digits.onnx")
    assert not isinstance(back, InputError)
