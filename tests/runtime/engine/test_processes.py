"""Threads and processes: pickle, copy, fork, spawn, pre-fork servers."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import slow
from examples import Child, in_threads, int8, mlp, mlp_artifact, needs_fork

from edgeport import ArtifactError, InferenceError, InputError, IntegrityError, Predictor

pytestmark = pytest.mark.slow

X = np.random.default_rng(5).random((3, 6)).astype("f4")


def test_a_pickled_predictor_is_the_same_predictor(mlp_file: Path) -> None:
    for source in (mlp_file, mlp_artifact()):
        with Predictor.load(source, threads=2, finite=True) as predictor:
            data = pickle.dumps(predictor)
            wanted = predictor.predict(X)
        with pickle.loads(data) as back:  # noqa: S301 - our own bytes
            assert back.predict(X).tobytes() == wanted.tobytes()
            assert back.card == predictor.card
            assert back.threads == 2
            assert back._model.options.finite


def test_a_pickle_by_path_is_small_and_finds_the_file_from_any_folder(
    mlp_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Predictor.load(mlp_file.name) as predictor:
        data = pickle.dumps(predictor)
    assert len(data) < 1000
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickle.loads(data).close()  # noqa: S301 - our own bytes


def test_a_file_changed_under_a_pickle_is_refused(mlp_file: Path) -> None:
    with Predictor.load(mlp_file) as predictor:
        data = pickle.dumps(predictor)
    mlp_file.write_bytes(int8().artifact())
    back = pickle.loads(data)  # noqa: S301 - our own bytes
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"is another file .*: load the new file there"):
            back.predict(X)
    mlp_file.unlink()
    for use in (lambda: back.card, lambda: back.predict(X), lambda: copy.copy(back)):
        with pytest.raises(ArtifactError, match=r"no file .* here, .*: copy it to every"):
            use()
    mlp_file.write_bytes(mlp_artifact())
    assert back.predict(X).shape == (3, 3)


def test_one_from_a_pickle_loads_when_it_is_used(mlp_file: Path) -> None:
    with Predictor.load(mlp_file, finite=True) as predictor:
        data = pickle.dumps(predictor)
    mlp_file.rename(mlp_file.with_suffix(".away"))
    back = pickle.loads(data)  # noqa: S301 - our own bytes
    assert repr(back) == f"<Predictor of '{mlp_file}', loaded when it is first used>"
    assert pickle.dumps(back) == data
    with pytest.raises(AttributeError, match="no attribute 'predikt'"):
        back.predikt  # noqa: B018
    closed = pickle.loads(data)  # noqa: S301 - our own bytes
    closed.close()
    assert repr(closed) == f"<Predictor of '{mlp_file}', closed>"
    for use in (lambda: closed.card, lambda: closed.predict(X), lambda: pickle.dumps(closed)):
        with pytest.raises(InferenceError, match="is closed"):
            use()
    mlp_file.with_suffix(".away").rename(mlp_file)
    assert back.path == str(mlp_file)
    assert back.out_of_range == {}
    back.close()


def test_a_process_loads_the_model_of_its_pickles_once(mlp_file: Path) -> None:
    with Predictor.load(mlp_file) as predictor:
        data = pickle.dumps(predictor)
        wanted = predictor.predict(X)
    barrier, found = threading.Barrier(4), []

    def use() -> None:
        back = pickle.loads(data)  # noqa: S301 - our own bytes
        barrier.wait()
        found.append((back.predict(X).tobytes(), back._open().session))

    in_threads(lambda _: use(), range(4))
    assert {answer for answer, _ in found} == {wanted.tobytes()}
    (session,) = {session for _, session in found}
    mlp_file.unlink()  # it is in memory, checked
    last = pickle.loads(data)  # noqa: S301 - our own bytes
    assert last._open().session is session
    last.close()  # releases the engine
    with pytest.raises(ArtifactError, match="there is no file"):
        pickle.loads(data).predict(X)  # noqa: S301 - our own bytes


def test_closing_one_from_a_pickle_releases_the_engine_though_it_was_not_used(
    mlp_file: Path,
) -> None:
    with Predictor.load(mlp_file) as predictor:
        data = pickle.dumps(predictor)
    first, unused = (pickle.loads(data) for _ in range(2))  # noqa: S301 - our own bytes
    wanted = first.predict(X)
    unused.close()
    mlp_file.unlink()
    with pytest.raises(ArtifactError, match="there is no file"):
        pickle.loads(data).predict(X)  # noqa: S301 - our own bytes
    assert first.predict(X).tobytes() == wanted.tobytes()


def test_other_options_or_another_file_are_another_model(mlp_file: Path) -> None:
    with Predictor.load(mlp_file) as plain, Predictor.load(mlp_file, finite=True) as strict:
        first, second = (pickle.loads(pickle.dumps(one)) for one in (plain, strict))  # noqa: S301
    bad = np.full((1, 6), np.nan, "f4")
    first.predict(bad)
    with pytest.raises(InputError, match="is nan at"):
        second.predict(bad)
    first.predict(bad)
    second.close()
    mlp_file.write_bytes(int8().artifact())
    with Predictor.load(mlp_file) as other:
        third = pickle.loads(pickle.dumps(other))  # noqa: S301 - our own bytes
        assert third.predict(X).tobytes() == other.predict(X).tobytes()
    third.reload()
    assert third.card == other.card
    third.close()


def test_a_foreign_file_changed_under_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(mlp().onnx)
    with Predictor.load(path) as predictor:
        data = pickle.dumps(predictor)
    path.write_bytes(int8().onnx)
    with pytest.raises(IntegrityError, match="is another file"):
        pickle.loads(data).predict(X)  # noqa: S301 - our own bytes


def test_copies_are_independent(mlp_file: Path) -> None:
    predictor = Predictor.load(mlp_file)
    for twin in (copy.copy(predictor), copy.deepcopy(predictor)):
        assert twin.predict(X).tobytes() == predictor.predict(X).tobytes()
        twin.close()
        predictor.predict(X)
    last = copy.copy(predictor)
    predictor.close()
    last.predict(X)
    last.close()
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(InferenceError, match="is closed"):
            act(predictor)


def test_many_threads_get_the_answers_of_one(mlp_file: Path) -> None:
    batches = [np.random.default_rng(n).random((n % 7 + 1, 6)).astype("f4") for n in range(50)]
    wrong: list[int] = []
    with Predictor.load(mlp_file) as predictor:
        wanted = [predictor.predict(batch) for batch in batches]

        def work(seed: int) -> None:
            for number in np.random.default_rng(seed).integers(len(batches), size=1000):
                answer = predictor.predict(batches[number])
                if not np.allclose(answer, wanted[number], rtol=1e-5, atol=1e-7):
                    wrong.append(int(number))

        in_threads(work, range(8))
    assert wrong == []


@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=needs_fork)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_pool_of_processes_answers_and_ends(
    method: str, threads: int, mlp_file: Path, child: Child, tmp_path: Path
) -> None:
    assert method in multiprocessing.get_all_start_methods()
    script = tmp_path / "pool.py"
    script.write_text(
        """
import json, multiprocessing, sys, time
import numpy as np
import edgeport

def answer(predictor):
    return predictor.predict(np.ones(6)).tolist()

def inherited(_):
    return answer(PREDICTOR)

if __name__ == "__main__":
    method, threads, path = sys.argv[1:]
    PREDICTOR = edgeport.Predictor.load(path, threads=int(threads))
    here = answer(PREDICTOR)
    pool = multiprocessing.get_context(method).Pool(2)
    results = pool.map(answer, [PREDICTOR] * 4)
    if method == "fork":
        results += pool.map(inherited, range(4))
    started = time.monotonic()
    pool.close()
    pool.join()
    same = all(np.allclose(result, here) for result in results)
    print(json.dumps([same, time.monotonic() - started]))
"""
    )
    code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))"
    result = child(code, script, method, threads, mlp_file)
    assert result.stderr == ""
    same, seconds = json.loads(result.stdout)
    assert same
    assert seconds < 20  # a hang lasts for ever, a busy machine does not


FORK = """
import json, os, signal, sys, threading, time
import numpy as np
import edgeport

threads, how, path = sys.argv[1:]
predictor = edgeport.Predictor.load(path, threads=int(threads))
x = np.ones((64, 6), "f4")
wanted = predictor.predict(x).tobytes()
busy = threading.Event()
stop = threading.Event()
def load():
    while not stop.is_set():
        predictor.predict(x)
        busy.set()
if how == "busy":
    worker = threading.Thread(target=load)
    worker.start()
    busy.wait()
codes, seconds = [], []
for number in range(20 if how == "busy" else 3):
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        if how == "idle":
            sys.exit(0)
        right = predictor.predict(x).tobytes() == wanted
        predictor.predict(x[0])
        sys.exit(0 if right else 7)
    _, status = os.waitpid(pid, 0)
    codes.append(os.waitstatus_to_exitcode(status))
    seconds.append(time.monotonic() - started)
stop.set()
if how == "busy":
    worker.join()
assert predictor.predict(x).tobytes() == wanted
# A child that hangs is ended by its alarm, and its code tells. One alone may just be slow.
print(json.dumps([codes, sorted(seconds)[len(seconds) // 2]]))
"""


@needs_fork
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["idle", "predict", "busy"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_answers_and_exits_at_once(
    threads: int, how: str, mlp_file: Path, child: Child
) -> None:
    """Like a server that loads the model first and forks its workers then."""
    code = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + FORK
    result = child(code, threads, how, mlp_file)
    assert result.stderr == ""
    codes, seconds = json.loads(result.stdout)
    assert set(codes) == {0}
    assert seconds < 20  # a hang lasts for ever, a busy machine does not


@needs_fork
def test_a_forked_child_of_predictors_from_bytes_needs_no_file(
    mlp_file: Path, child: Child
) -> None:
    code = """
import os, pathlib, sys
import edgeport
predictor = edgeport.Predictor.load(pathlib.Path(sys.argv[1]).read_bytes(), threads=2)
os.unlink(sys.argv[1])
pid = os.fork()
if pid == 0:
    sys.exit(len(predictor.predict([0] * 6)))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    result = child(code, mlp_file)
    assert (result.stdout, result.stderr) == ("3\n", "")


def test_a_run_with_several_threads_gives_the_formulas_answer() -> None:
    with Predictor.load(slow.looping(), threads=2) as predictor:
        started = time.monotonic()
        assert (predictor.predict(slow.x(), 5) == 1).all()
        assert time.monotonic() - started < 5
