"""The programs of runtime/ENGINES.md that need nothing but Python, and what users get wrong."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import engines_page
import numpy as np
import pytest
from examples import int8, mlp_artifact

from edgeport import ArtifactError, InputError, IntegrityError, Predictor

pytestmark = pytest.mark.slow

X = np.random.default_rng(5).random((3, 6)).astype("f4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    engines_page.fill(tmp_path)
    return tmp_path


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(folder: Path, method: str) -> None:
    (program,) = engines_page.blocks("multiprocessing")
    assert '"spawn"' in program
    done = engines_page.run(program.replace('"spawn"', f'"{method}"'), folder)
    assert done.stderr == ""
    engines_page.assert_scores(folder)


@pytest.mark.parametrize("pool", ["ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_concurrent_futures(folder: Path, pool: str) -> None:
    (program,) = engines_page.blocks("concurrent.futures")
    done = engines_page.run(program.replace("ProcessPoolExecutor", pool), folder)
    assert done.stderr == ""
    engines_page.assert_scores(folder)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def test_a_worker_loads_once(pool: ProcessPoolExecutor, mlp_file: Path) -> None:
    with Predictor.load(mlp_file, threads=1) as predictor:
        wanted = predictor.predict(X)
        for _ in range(2):
            assert pool.submit(predictor.predict, X).result().tobytes() == wanted.tobytes()
            mlp_file.unlink(missing_ok=True)


def test_errors_of_a_worker_arrive_as_themselves(pool: ProcessPoolExecutor, mlp_file: Path) -> None:
    with Predictor.load(mlp_file, threads=1, finite=True) as predictor:
        with pytest.raises(InputError, match=r"'x' has shape \(3, 5\), expected \(N, 6\)") as wrong:
            pool.submit(predictor.predict, X[:, :5]).result()
        assert (wrong.value.actual, wrong.value.expected) == ("(3, 5)", "(N, 6)")
        with pytest.raises(InputError, match=r"is nan at \[0, 2\], expected finite numbers"):
            pool.submit(predictor.predict, np.where(np.arange(6) == 2, np.nan, X)).result()
        assert len(pool.submit(predictor.predict, X).result()) == 3


def test_another_file_there_is_refused_and_no_pool_waits(
    pool: ProcessPoolExecutor, mlp_file: Path
) -> None:
    content = mlp_artifact()
    with Predictor.load(mlp_file, threads=1, chunk_bytes=2**20) as predictor:
        mlp_file.write_bytes(int8().artifact())
        with pytest.raises(IntegrityError, match="is another file than") as other:
            pool.submit(predictor.predict, X).result()
        assert other.value.path == str(mlp_file)
        mlp_file.write_bytes(content[:-1])
        with pytest.raises(IntegrityError, match="is damaged"):
            pool.submit(predictor.predict, X).result()
        mlp_file.unlink()
        with pytest.raises(ArtifactError, match=f"there is no file '{mlp_file}' here"):
            pool.submit(predictor.predict, X).result()
        with multiprocessing.get_context("spawn").Pool(1) as waiting:
            answer = waiting.map_async(predictor.predict, [X])
            with pytest.raises(ArtifactError, match="there is no file"):
                answer.get(60)


def test_a_predictor_of_bytes_needs_no_file_there(pool: ProcessPoolExecutor) -> None:
    with Predictor.load(mlp_artifact(), threads=1) as predictor:
        answer = pool.submit(predictor.predict, X).result()
        assert answer.tobytes() == predictor.predict(X).tobytes()
        assert len(pickle.dumps(predictor)) > len(mlp_artifact())
