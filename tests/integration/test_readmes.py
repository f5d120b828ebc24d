"""Every code block and command of the READMEs, run as a user types it.

A section's blocks run in their order, in one folder that holds what the section takes for granted.
``SECTIONS`` says how that folder is made; a section with blocks that is not in it fails. What
cannot be run in a test stands in ``ELSEWHERE`` with what runs it, which is checked, too.

Python blocks and the converter's commands run in this process, since TensorFlow takes seconds to
import; ``test_commands`` and ``test_train_command`` run the installed script.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tomllib
from examples import camera, identity, int8, mlp_artifact, sealed, spec
from onnx_writer import graph, model, node
from PIL import Image
from recordings import echo, wav
from tables.sections import shown

from edgeport import Predictor
from edgeport.artifact.column import Column
from edgeport.cli.main import main
from edgeport_converter import convert
from edgeport_converter.training.recipe.recipe import read_recipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
READMES = (
    "README.md",
    "runtime/README.md",
    "runtime/ENGINES.md",
    "converter/README.md",
    "converter/README.zh.md",
    "converter/examples/README.md",
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_FILES = re.compile(r"edgeport \w+ .*\.(onnx|keras|npz|wav|jpg|csv)\b")


@dataclass(frozen=True)
class Section:
    """A heading of a README with the code that follows it, up to the next one."""

    readme: str
    heading: str
    blocks: tuple[tuple[str, str], ...]  # language and text
    spans: tuple[str, ...]  # what stands in `...`

    @property
    def name(self) -> str:
        return f"{self.readme}: {self.heading}"

    @property
    def commands(self) -> list[str]:
        """Commands inside of sentences that name files."""
        return [span.removesuffix(" ...") for span in self.spans if WITH_FILES.match(span)]


def sections(readme: str) -> list[Section]:
    found = []
    hidden: list[str] = []

    def hide(match: re.Match[str]) -> str:  # a comment in Python looks like a heading
        hidden.append(match[0])
        return f"```{len(hidden) - 1}```\n"

    text = FENCE.sub(hide, (ROOT / readme).read_text(encoding="utf-8"))
    for part in re.split(r"^(?=#{1,3} )", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        fences = [
            FENCE.match(hidden[int(number)]) for number in re.findall(r"^```(\d+)```", body, re.M)
        ]
        spans = re.findall(r"`([^`]+)`", re.sub(r"^```\d+```", "", body, flags=re.M))
        found.append(
            Section(
                readme,
                heading.lstrip("# "),
                tuple((fence[1], fence[2]) for fence in fences if fence),
                tuple(span.replace("\n", " ") for span in spans),
            )
        )
    return found


# What a section takes for granted: files in the folder, and names in its Python code.

Names = dict[str, Any]


def digits_folder(folder: Path, **_: Any) -> Names:
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copy(ROOT / "assets" / "digits.onnx", folder)
    with np.load(ROOT / "assets" / "sample_digits.npz") as samples:
        x = samples["images"].reshape(-1, 784).astype(np.float32) / 255
    return {"x": x[0]}


def small_model(classes: int) -> Any:
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((6,)),
        keras.layers.Dense(8, "relu"),
        keras.layers.Dense(classes, "softmax"),
    ]
    return keras.Sequential(layers)


def model_folder(folder: Path, **_: Any) -> Names:
    trained = small_model(2)
    trained.save(folder / "model.keras")
    x = np.random.default_rng(1).normal(size=(300, 6)).astype("float32")
    np.savez(folder / "train.npz", x=x[:200])
    np.savez(folder / "test.npz", x=x[200:], y=trained.predict(x[200:], verbose=0).argmax(axis=1))
    return {"x": x[0]}


def photos_folder(folder: Path, **_: Any) -> Names:
    """Photos of two classes and, beside them, a file that is none; a model that was trained."""
    frames_folder(folder)
    shutil.rmtree(folder / "test")
    (folder / "photos" / "red" / "phone.heic").write_bytes(b"no photo that Pillow reads")
    return {}


def device_photos_folder(folder: Path, **_: Any) -> Names:
    (folder / "photos.onnx").write_bytes(camera().artifact())
    (folder / "new").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    for number in (1, 2):
        Image.fromarray(pixels[number:]).save(folder / "new" / f"{number}.jpg")
    return {}


def columns_folder(folder: Path, **_: Any) -> Names:
    plain = identity(shape=("N", 2))
    columns = tuple(Column(name, "number", "x") for name in ("height_cm", "width_m"))
    card = replace(plain.card, columns=columns)
    (folder / "model.onnx").write_bytes(replace(plain, card=card).artifact())
    (folder / "rows.csv").write_text("width_m,height_cm\n2.5,180\n0.8,95\n")
    frame = pd.read_csv(folder / "rows.csv")
    return {"predictor": Predictor.load(folder / "model.onnx"), "frame": frame}


def service_folder(folder: Path, **_: Any) -> Names:
    (folder / "model.onnx").write_bytes(int8().artifact())
    x = np.linspace(0, 1, 6, dtype="f4")
    return {"x": x, "camera": [x] * 20, "Predictor": Predictor}


def sound_folder(folder: Path, **_: Any) -> Names:
    for name in ("keywords.onnx", "model.onnx"):
        (folder / name).write_bytes(echo(4, 200, rate=400).artifact())
    recording = np.random.default_rng(5).integers(-9, 10, 1000).astype("<i2")
    (folder / "sound.wav").write_bytes(wav(recording.tobytes(), rate=400))
    return {}


def device_folder(folder: Path, **_: Any) -> Names:
    x = np.random.default_rng(1).normal(size=(200, 6)).astype("float32")
    options = {"quantize": "static", "also": ["none"], "max_drop": 0.5}
    convert(small_model(2), folder / "model.onnx", calibration=x, **options)
    return {"Predictor": Predictor}


def explain_folder(folder: Path, **_: Any) -> Names:
    columns_folder(folder)
    (folder / "model.onnx").rename(folder / "sales.onnx")
    sound_folder(folder)
    mean = [
        node("Cast", ["x"], ["levels"], to=1),
        node("ReduceMean", ["levels"], ["y"], axes=[1], keepdims=1),
    ]
    content = graph(mean, [("x", "int16", ["N", 4])], [("y", "float32", ["N", 1])])
    card = replace(
        echo(4, 200, rate=400).card,
        inputs=(spec("x", "int16", ("N", 4), axes=("N", "T")),),
        outputs=(spec("y", "float32", ("N", 1)),),
    )
    (folder / "keywords.onnx").write_bytes(sealed(model(content), card))
    digits_folder(folder)
    with np.load(folder / "assets" / "sample_digits.npz") as samples:
        np.save(folder / "digits.npy", samples["images"][:1].reshape(1, 784).astype("f4") / 255)
    (folder / "model.onnx").write_bytes(camera().artifact())
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "cat.jpg")
    return {"frame": pixels}


def update_folder(folder: Path, **_: Any) -> Names:
    for name in ("model.onnx", "new.onnx"):
        (folder / name).write_bytes(mlp_artifact())
    return {"predictor": Predictor.load(folder / "model.onnx"), "Predictor": Predictor}


def frames_folder(folder: Path, **_: Any) -> Names:
    """A classifier of two colours, in Keras 3 and as a Keras 2 file, and photos of them."""
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3),
        keras.layers.GlobalAveragePooling2D(),
    ]
    model = keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])
    model.save(folder / "model.keras")
    with contextlib.suppress(UserWarning):
        model.save(folder / "keras_model.h5")
    rng = np.random.default_rng(1)
    for number in range(24):
        for name, colour in (("blue", 2), ("red", 0)):
            pixels = rng.integers(0, 90, (12 + number, 20, 3), np.uint8)
            pixels[..., colour] += 150
            for place in ("photos", "test"):
                (folder / place / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / place / name / f"{number}.png")
    return {}


def first_folder(folder: Path, **_: Any) -> Names:
    shutil.copytree(ROOT / "assets", folder / "assets")
    return model_folder(folder)


def recordings_folder(folder: Path, **_: Any) -> Names:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv1D(4, 64, strides=64), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential([keras.Input((16000, 1)), *layers, keras.layers.Dense(2, "softmax")])
    model.save(folder / "model.keras")
    rng = np.random.default_rng(1)
    for word in ("no", "yes"):
        (folder / "recordings" / word).mkdir(parents=True)
        for number in range(4):
            with wave.open(str(folder / "recordings" / word / f"{number}.wav"), "wb") as file:
                file.setparams((1, 2, 16000, 0, "NONE", ""))
                file.writeframes(rng.normal(0, 3000, 40000).astype("<i2").tobytes())
    return {}


def training_folder(folder: Path, raw_digits: Any, **_: Any) -> Names:
    """``mnist.npz`` as the printed recipe wants it, with 600 real digits."""
    images, digits = raw_digits
    np.savez(
        folder / "mnist.npz",
        x_train=images[:400],
        y_train=digits[:400],
        x_test=images[400:600],
        y_test=digits[400:600],
    )
    return {}


SECTIONS: dict[str, Callable[..., Names]] = {
    "README.md: Try it in a minute": first_folder,
    "README.md: Your own model, in three steps": photos_folder,
    "README.md: Your device, in three steps": device_photos_folder,
    "runtime/README.md: edgeport": digits_folder,
    "runtime/README.md: Rows of a table": columns_folder,
    "runtime/README.md: Years of service": service_folder,
    "runtime/README.md: Sound and other signals": sound_folder,
    "runtime/README.md: Fitted to the device": device_folder,
    "runtime/README.md: Why this answer?": explain_folder,
    "runtime/README.md: Millions of rows": device_photos_folder,
    "runtime/README.md: Updates": update_folder,
    "converter/README.md: edgeport-converter": model_folder,
    "converter/README.md: Fine-tuning: when int8 breaks a network": model_folder,
    "converter/README.md: For one board": model_folder,
    "converter/README.md: Options and progress": model_folder,
    "converter/README.md: Frames: from the camera to the answer": frames_folder,
    "converter/README.md: uint8 in": frames_folder,
    "converter/README.md: Sound and other signals in": recordings_folder,
    "converter/README.md: A report to look at": model_folder,
    "converter/README.md: Training": training_folder,
    "converter/README.zh.md: 训练与转换": training_folder,
    "converter/README.zh.md: 激活函数": training_folder,
    "converter/README.zh.md: 学习率": training_folder,
    "converter/README.zh.md: 过拟合": training_folder,
    "converter/README.zh.md: 部署到设备": digits_folder,
}

ELSEWHERE = {
    # The two commands of the project make environments of their own: CI types them.
    "README.md: Two commands": (".ci/run", ("make demo", "make test")),
    "converter/README.zh.md: 两条命令走完全程": (".ci/run", ("make demo", "make test")),
    "converter/examples/README.md: Recipe book": (
        "tests/integration/test_examples.py",
        ("run_path", '"table_with_text"'),
    ),
    # It serves until it is stopped; Chromium opens the same folder there.
    "converter/README.md: Try it in a browser": ("tests/browser/test_page.py", ("page",)),
    # Wheels come from an index there; the test makes them of what is installed.
    "converter/README.md: To the device without a network": (
        "tests/converter/bundling/test_installed.py",
        ("install.py", "current/bin/edgeport", "--rollback", "--bundle"),
    ),
    # Programs that start processes: each is run as a file.
    "runtime/ENGINES.md: A predictor in other engines": (
        "tests/runtime/helpers/engines_page.py",
        ('blocks("A predictor in other engines")',),
    ),
    **{
        f"runtime/ENGINES.md: {engine}": (place, (f'blocks("{engine}"',))
        for place, engines in {
            "tests/runtime/test_engines.py": ("multiprocessing", "concurrent.futures"),
            "tests/integration/test_engines.py": ("joblib",),
            "tests/scale/test_citizens.py": ("Dask", "Spark", "Ray Data", "Ray Serve"),
        }.items()
        for engine in engines
    },
    # A database server, and a cluster, which the tests start.
    "converter/README.md: A search on many machines": (
        "tests/scale/test_search_on_postgresql.py",
        ("--search-only", "--storage", "--study-name", '"-o", "model.keras"'),
    ),
    "converter/README.md: Candidates on several machines": (
        "tests/scale/test_convert_on_ray.py",
        ('engine="ray"', '"--engine", "ray"', "RAY_ADDRESS"),
    ),
    # A video and a camera of a Raspberry Pi, with a stand-in for its library.
    "runtime/README.md: Photos and cameras": (
        "tests/integration/test_cameras.py",
        ('block("VideoCapture")', 'block("Picamera2")', "edgeport predict model.onnx photo.jpg"),
    ),
}

FOLDERS = {"/var/lib/camera": "camera"}  # a folder of the device, here one of the test's


def run_shell(text: str, folder: Path) -> None:
    """Run a block of commands: those of the converter here, others by bash.

    Environments are not made, and packages not installed but looked for in the project.
    """
    for on_device, here in FOLDERS.items():
        text = text.replace(on_device, str(folder / here))
    ours = ("edgeport convert", "edgeport train", "pip install")
    if not any(command in text for command in ours):
        scripts = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", text],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        return
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["pip", "install"]:
            for package in words[2:]:
                require_extra(package)
            continue
        if not words or words[:3] == ["python3", "-m", "venv"]:
            continue
        target = words[words.index(">") + 1] if ">" in words else os.devnull
        words = words[: words.index(">")] if ">" in words else words
        assert words.pop(0) == "edgeport", line
        with Path(target).open("w", encoding="utf-8") as stdout, contextlib.redirect_stdout(stdout):
            assert main(words) == 0, line


def check_recipe(text: str) -> None:
    """Check tables that a reader puts into the recipe that `edgeport train --example` prints."""

    def put(into: dict[str, Any], tables: dict[str, Any]) -> None:
        for key, value in tables.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                put(into[key], value)
            else:
                into[key] = value

    examples = ROOT / "converter/src/edgeport_converter/training/recipe/examples"
    recipe = tomllib.loads((examples / "mnist.toml").read_text(encoding="utf-8"))
    put(recipe, tomllib.loads(text))
    assert read_recipe(recipe).raw == recipe


def require_extra(package: str) -> None:
    """Check that a package with an extra is one of ours and has it: tests install nothing."""
    name, extras = re.fullmatch(r"(?:\./)?([\w-]+)(?:\[([\w,]+)\])?", package).groups()
    place = {"edgeport": "runtime", "edgeport-converter": "converter"}.get(name, name)
    project = tomllib.loads((ROOT / place / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    assert set((extras or "").split(",")) - {""} <= set(project["optional-dependencies"]), package


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras advises against .h5 where one is made
@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_runs_as_it_stands(name, tmp_path, monkeypatch, raw_digits, capsys):
    readme = name.partition(":")[0]
    (section,) = [each for each in sections(readme) if each.name == name]
    monkeypatch.chdir(tmp_path)
    names = SECTIONS[name](tmp_path, raw_digits=raw_digits)
    for language, text in section.blocks:
        if language == "python":
            exec(compile(text, name, "exec"), names)  # noqa: S102  the README's own code
        elif language == "toml":
            check_recipe(text)
        else:
            run_shell(text, tmp_path)
    for command in section.commands:
        run_shell(command, tmp_path)


def test_the_program_for_years_of_service_answers_through_bad_updates(
    tmp_path, monkeypatch, capsys, caplog
):
    """A broken update, none at all, and a good one of the same time stamp, as some tools leave."""
    (section,) = (each for each in sections("runtime/README.md") if "Years of" in each.heading)
    program = section.blocks[0][1]
    example = int8()
    new, path = tmp_path / "new.onnx", tmp_path / "model.onnx"

    def version(name: str) -> bytes:
        labels = tuple(f"{name}{at}" for at in range(4))
        return replace(example, card=replace(example.card, labels=labels)).artifact()

    def arrive(content: bytes) -> None:
        new.write_bytes(content)
        os.utime(new, (0, 0))
        new.replace(path)

    def camera():
        x = np.linspace(0, 1, 6, dtype="f4")
        yield x
        yield x[:2]
        arrive(version("new")[:100])
        yield x
        path.unlink()
        yield x
        arrive(version("new"))
        yield x

    arrive(version("old"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    exec(compile(program, section.name, "exec"), {"camera": camera()})  # noqa: S102
    answers = [line[:3] for line in capsys.readouterr().out.splitlines()]
    assert answers == ["old", "old", "old", "new"]
    bad_frame, bad_update = caplog.messages
    assert "has shape (2,)" in bad_frame
    assert re.match("the old model stays: .* is damaged", bad_update)


@pytest.mark.parametrize("readme", READMES)
def test_every_section_with_code_is_run(readme):
    found = {section.name for section in sections(readme) if section.blocks or section.commands}
    known = {name for name in (*SECTIONS, *ELSEWHERE) if name.startswith(f"{readme}:")}
    assert found == known


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_runs_the_others_does(name):
    path, words = ELSEWHERE[name]
    text = (ROOT / path).read_text(encoding="utf-8")
    assert [word for word in words if word not in text] == []


def spans(start: str) -> list[str]:
    return sorted(
        {
            span
            for readme in READMES
            for section in sections(readme)
            for span in (
                *section.spans,
                *"\n".join(text for _, text in section.blocks).splitlines(),
            )
            if span.startswith(start)
        }
    )


@pytest.mark.parametrize("span", spans("make "))
def test_a_make_command_names_a_target(span):
    arguments = [word for word in shlex.split(span, comments=True)[1:] if word != "..."]
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{re.escape(arguments[0])}:", rules, re.MULTILINE)
    for setting in arguments[1:]:
        assert (
            f"$({setting.partition('=')[0]})" in rules or f"$${setting.partition('=')[0]}" in rules
        )


@pytest.mark.parametrize("span", spans("pip install "))
def test_a_package_to_install_has_the_extra(span):
    for package in shlex.split(span, comments=True)[2:]:
        if not package.startswith("--"):
            require_extra(package)


@pytest.mark.parametrize("span", spans("edgeport "))
def test_an_option_in_a_sentence_is_one_of_the_command(span, capsys):
    command, *words = shlex.split(span.rstrip("\\"), comments=True)[1:]
    if words[:1] == ["|"]:  # a list of commands
        return
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert [word for word in words if word.startswith("-") and word not in shown] == []


def test_the_tables_of_the_command_line_list_each_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    (section,) = [each for each in sections("runtime/README.md") if each.heading == "Command line"]
    listed = [span.split()[1] for span in section.spans if span.startswith("edgeport ")]
    assert sorted(listed) == sorted(commands)
    without = []
    for command in commands:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        if "--json" not in capsys.readouterr().out:
            without.append(f"`{command}`")
    text = (ROOT / "runtime/README.md").read_text(encoding="utf-8")
    assert f"on all but {' and '.join(without)}." in text


def test_the_chinese_page_tells_the_figures_of_the_stored_runs():
    page = (ROOT / "converter/README.zh.md").read_text(encoding="utf-8")
    figures = set(re.findall(r"\d+\.\d+ ?%|\d+,\d{3} 字节", page))
    training = shown(ROOT / "converter/README.md", "training")
    benchmarks = (ROOT / "tests/benchmarks/README.md").read_text("utf-8")
    demo = re.search(r"<!-- demo table -->.*?<!--", benchmarks, re.DOTALL)
    assert len(figures) > 15
    stored = (training + demo[0]).replace(" %", "%")  # the tables write it either way
    told = {each.removesuffix(" 字节").replace(" %", "%") for each in figures}
    assert sorted(each for each in told if each not in stored) == []
    for row in re.findall(r"^\| .*? \| (\d+\.\d) % \| (\d+\.\d) % \|$", page, re.MULTILINE):
        assert re.search(rf"\| {row[0]} % ± .*? \| {row[1]} % \|", training), row
