"""ONNX' own operator cases through Predictor, beside plain onnxruntime (`make operators`).

    python tests/runtime/scripts/operator_cases.py [FOLDER]

FOLDER holds one folder a case with ``model.onnx`` and ``test_data_set_0/input_*.pb``; by default
that of Debian's package libonnx-testdata (apt install libonnx-testdata). Every case that plain
onnxruntime runs must give the same bits, or be refused by an EdgeportError. It prints the refusals
by kind and ends with 1 where an answer differs, a foreign exception comes out, or a process dies.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

DEFAULT = Path("/usr/share/libonnx-testdata/data")
DTYPES = {
    1: "f4",
    2: "u1",
    3: "i1",
    4: "u2",
    5: "i2",
    6: "i4",
    7: "i8",
    9: "?",
    10: "f2",
    11: "f8",
    12: "u4",
    13: "u8",
}


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, int or bytes) of a protobuf message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or varint()
            yield tag >> 3, data[at : at + size]
            at += size


def read_tensor(data: bytes) -> Any:
    """Return the array of a TensorProto, None where it is something else."""
    dims: list[int] = []
    kind, raw, text = 0, None, []
    lists: dict[int, bytes] = {}
    for field, value in fields(data):
        if field == 1:
            dims += [value] if isinstance(value, int) else packed(value)
        elif field == 2:
            kind = value
        elif field == 6:
            text.append(value.decode())
        elif field == 9:
            raw = value
        elif field in (4, 5, 7, 10, 11) and isinstance(value, bytes):
            lists[field] = lists.get(field, b"") + value
    if kind == 8:
        return np.array(text, object).reshape(dims)
    if kind not in DTYPES:
        return None
    if raw is not None:
        return np.frombuffer(raw, "<" + DTYPES[kind]).astype(DTYPES[kind]).reshape(dims)
    if 4 in lists or 10 in lists:
        values = np.frombuffer(lists.get(4) or lists[10], "<f4" if 4 in lists else "<f8")
    else:
        content = lists.get(5) or lists.get(7) or lists.get(11) or b""
        values = np.array(packed(content), "u8").astype("i8")
        if kind == 10:
            values = values.astype("u2").view("f2")
    return values.astype(DTYPES[kind]).reshape(dims)


def read_tensor_or_none(data: bytes) -> Any:
    """Return the array of a file, None where it holds a sequence or an optional value."""
    try:
        return read_tensor(data)
    except (ValueError, IndexError):
        return None


def packed(content: bytes) -> list[int]:
    numbers, value, shift = [], 0, 0
    for byte in content:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    return numbers


def plain(path: Path, feed: dict[str, Any]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    names = [node.name for node in session.get_inputs()]
    return list(session.run(None, {name: feed[name] for name in names if name in feed}))


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        isinstance(a, np.ndarray)
        and isinstance(b, np.ndarray)
        and a.dtype == b.dtype
        and a.shape == b.shape
        and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(first, second, strict=True)
    )


def run_case(folder: Path) -> tuple[str, str]:
    """Return the verdict on one case and the reason."""
    import edgeport

    path = folder / "model.onnx"
    files = sorted((folder / "test_data_set_0").glob("input_*.pb"), key=lambda f: int(f.stem[6:]))
    arrays = [read_tensor_or_none(file.read_bytes()) for file in files]
    try:
        predictor = edgeport.Predictor.load(path)
    except edgeport.EdgeportError as error:
        refusal: Exception | None = error
        names = graph_inputs(path)
    else:
        refusal = None
        names = [spec.name for spec in predictor.card.inputs]
    feed = dict(zip(names, arrays, strict=False))
    wanted: list[Any] | None = None
    reason = ""
    if all(array is not None for array in arrays):
        try:
            wanted = plain(path, feed)
            if not same(wanted, plain(path, feed)):
                return "random", ""
        except Exception as error:
            reason = str(error)
    is_tensor = all(array is not None for array in arrays)
    if refusal is not None:
        return ("refused" if wanted is not None or not is_tensor else "neither"), str(refusal)
    with predictor:
        try:
            answer = predictor.predict(feed)
        except edgeport.EdgeportError as error:
            return ("refused" if wanted is not None else "neither"), str(error)
    found = list(answer.values()) if isinstance(answer, dict) else [answer]
    if wanted is None:
        return "only edgeport", reason
    return ("same", "") if same(wanted, found) else ("DIFFERENT", f"{wanted} {found}"[:300])


def graph_inputs(path: Path) -> list[str]:
    """Return the graph's inputs that are no initializers, in order."""
    (graph,) = (value for field, value in fields(path.read_bytes()) if field == 7)
    ports = [dict(fields(value))[1].decode() for field, value in fields(graph) if field == 11]
    weights = {
        name.decode()
        for field, value in fields(graph)
        if field == 5
        for number, name in fields(value)
        if number == 8
    }
    return [name for name in ports if name not in weights]


def work() -> None:
    """Judge the folders named on stdin, one line of JSON each."""
    for line in sys.stdin:
        folder = Path(line.strip())
        print(json.dumps(["begin", str(folder), ""]), flush=True)
        try:
            verdict, reason = run_case(folder)
        except Exception as error:
            verdict, reason = "FOREIGN", f"{type(error).__name__}: {error}"
        print(json.dumps([verdict, str(folder), reason]), flush=True)


def main(root: Path) -> int:
    folders = sorted(path.parent for path in root.rglob("model.onnx"))
    folders = [f for f in folders if (f / "test_data_set_0").is_dir()]
    if not folders:
        print(f"there are no cases below '{root}': apt install libonnx-testdata", file=sys.stderr)
        return 2
    verdicts: dict[str, list[tuple[str, str]]] = {}
    while folders:
        worker = subprocess.run(
            [sys.executable, __file__, "--work"],
            input="".join(f"{folder}\n" for folder in folders),
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [json.loads(line) for line in worker.stdout.splitlines()]
        if lines and lines[-1][0] == "begin":  # the process died in the middle of this one
            lines.append(["DIED", lines[-1][1], f"exit code {worker.returncode}"])
        done = set()
        for verdict, folder, reason in lines:
            if verdict != "begin":
                verdicts.setdefault(verdict, []).append((Path(folder).name, reason))
                done.add(folder)
        if not done:
            print(worker.stderr, file=sys.stderr)
            return 2
        folders = [folder for folder in folders if str(folder) not in done]
    for verdict, cases in sorted(verdicts.items()):
        print(f"{verdict}: {len(cases)}")
    kinds = Counter(kind(reason) for _, reason in verdicts.get("refused", []))
    for text, count in kinds.most_common():
        print(f"  refused {count}: {text}")
    bad = [
        (verdict, *case)
        for verdict in ("DIFFERENT", "FOREIGN", "DIED", "only edgeport")
        for case in verdicts.get(verdict, [])
    ]
    for case in bad:
        print(*case)
    return 1 if bad else 0


def kind(reason: str) -> str:
    """Return a refusal without the names that differ from case to case."""
    return " ".join("'...'" if "'" in word else word for word in reason.split())[:160]


if __name__ == "__main__":
    if "--work" in sys.argv:
        work()
    else:
        sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
