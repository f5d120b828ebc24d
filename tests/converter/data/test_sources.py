"""Every form that samples come in gives the same samples, any number of times."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from edgeport import OptionError, TensorSpec
from edgeport_converter.data.datasets import read_dataset

SPEC = (TensorSpec("x", np.dtype(np.float32), ("N", 3), ("N", "F")),)
IMAGE = (TensorSpec("image", np.dtype(np.float32), ("N", 4, 6, 3), ("N", "H", "W", "C")),)
X = np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32)
Y = np.arange(25) % 4


def as_csv(path):
    rows = [",".join([*map(repr, map(float, x)), str(y)]) for x, y in zip(X, Y, strict=True)]
    path.write_text("a,b,c,label\n" + "\n".join(rows) + "\n")
    return path


def saved(path, save, *args, **arrays):
    save(path, *args, **arrays)
    return path


FORMS = {
    "npy": lambda folder: saved(folder / "x.npy", np.save, X),
    "npy column-major": lambda folder: saved(folder / "x.npy", np.save, np.asfortranarray(X)),
    "npy big-endian": lambda folder: saved(folder / "x.npy", np.save, X.astype(">f4")),
    "npz": lambda folder: saved(folder / "x.npz", np.savez, x=X, y=Y),
    "npz deflated": lambda folder: saved(folder / "x.npz", np.savez_compressed, x=X, y=Y),
    "csv": lambda folder: as_csv(folder / "x.csv"),
    "array": lambda folder: X,
    "pair": lambda folder: (X, Y),
    "tuple of one": lambda folder: (X,),
    "generator of tuples of one": lambda folder: ((x,) for x in X),
    "tf.data tuples of one": lambda folder: tf.data.Dataset.from_tensor_slices((X,)).batch(8),
    "generator of samples": lambda folder: (x for x in X),
    "generator of labelled samples": lambda folder: zip(X, Y, strict=True),
    "generator of batches": lambda folder: (X[i : i + 7] for i in range(0, 25, 7)),
    "list of dicts": lambda folder: [{"x": X[:10], "y": Y[:10]}, {"x": X[10:], "y": Y[10:]}],
    "tf.data samples": lambda folder: tf.data.Dataset.from_tensor_slices((X, Y)),
    "tf.data batches": lambda folder: tf.data.Dataset.from_tensor_slices((X, Y)).batch(8),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_samples_in_order_as_often_as_asked(form, tmp_path):
    data = read_dataset(FORMS[form](tmp_path), SPEC, "calibration")
    assert len(data) == 25
    for size in (1, 4, 25, 100):
        batches = list(data.batches(size))
        assert {len(batch["x"]) for batch in batches[:-1]} <= {size}
        np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches]), X)
    if data.labels is not None:
        np.testing.assert_array_equal(data.labels, Y)


def test_every_form_has_the_same_digest(tmp_path):
    digests = {read_dataset(make(tmp_path), SPEC, "calibration").sha256 for make in FORMS.values()}
    assert len(digests) == 1


@pytest.fixture
def image_folder(tmp_path):
    """Two classes with a plain image each: red in 'b_cats', blue in 'a_dogs'."""
    for name, color in (("b_cats", (255, 0, 0)), ("a_dogs", (0, 0, 255))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (30, 20), color).save(tmp_path / name / "one.png")
    return tmp_path


def test_images_take_the_size_of_the_model_and_classes_the_order_of_their_names(image_folder):
    data = read_dataset(image_folder, IMAGE, "evaluation")
    dog, cat = data.first(2)["image"]
    np.testing.assert_array_equal(dog, np.broadcast_to([0, 0, 255], (4, 6, 3)))
    np.testing.assert_array_equal(cat, np.broadcast_to([255, 0, 0], (4, 6, 3)))
    np.testing.assert_array_equal(data.labels, [0, 1])


def test_image_range_maps_black_and_white(image_folder):
    data = read_dataset(image_folder, IMAGE, "calibration", image_range=(-1.0, 1.0))
    np.testing.assert_allclose(data.first(1)["image"][0, 0, 0], [-1, -1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f, r"holds no image, expected .png"),
        (lambda f: (x for x in []), r"an iterable without any item, expected samples"),
        (lambda f: 7, r"the calibration data is a int, expected a path, arrays or an iterable"),
        (
            lambda f: saved(f / "x.npz", np.savez, x=X, y=Y[:3]),
            r"has 25 in 'x', 3 in 'y', expected as many samples in each array",
        ),
        (
            lambda f: saved(f / "x.npy", np.save, np.array([{}, 1], dtype=object)),
            r"holds Python objects, expected numbers",
        ),
    ],
)
def test_unusable_sources_are_refused_in_one_sentence(make, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        read_dataset(make(tmp_path), SPEC, "calibration")


def test_a_truncated_file_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(data[:-5])
    with pytest.raises(OptionError, match=r"x.npy' cannot .* \(it was cut short in sample 24\)"):
        read_dataset(tmp_path / "x.npy", SPEC, "calibration")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("größe,b,c\n1,2,3\n".encode("latin-1"), "line 1 has byte 0xf6, which is no UTF-8"),
        (b"a,b,c\n1,2,3\n4,5,\xa36\n", "line 3 has byte 0xa3, which is no UTF-8"),
        ("a,b,c\n1,2,3\n".encode("utf-16"), "line 1 has a NUL byte, as files in UTF-16 have"),
        ("a,b,c\n1,2,3\n".encode("utf-32-be"), "line 1 has a NUL byte"),
        (b"a,b,c\n1,2,3\n4,\x005,6\n", "line 3 has a NUL byte"),
        (b'a,b,c\n1,"2,3\n', "unexpected end of data"),
        (b"a,b,c\n1,2," + b"3" * 200_000, "field larger than field limit"),
    ],
)
def test_a_table_in_another_form_is_named(content, reason, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(
        OptionError, match=rf"t.csv' cannot be read as .csv from line \d on \(.*{reason}"
    ):
        read_dataset(tmp_path / "t.csv", SPEC, "calibration")


@pytest.mark.parametrize("first", ["label", '"label"', "\ufefflabel"])
def test_a_byte_order_mark_is_no_part_of_a_name(first, tmp_path):
    text = f"\ufeff{first},a,b,c\n1,2,3,4\n0,3,4,5\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read_dataset(tmp_path / "t.csv", SPEC, "evaluation").labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,hello\n", r"has 'hello' in line 2, column 'c', expected a number"),
        ("a,b,c\n1,2\n", r"has 2 cells in line 2, expected 3 as in the header"),
        ("", r"is empty, expected a header and rows"),
        ("1.5,2,3\n4,5,6\n", r"begins with numbers \(1.5, 2, 3\), expected a header"),
        ("1.5,,NA\n4,5,6\n", r"begins with numbers \(1.5, , NA\), expected a header"),
        ("a,b,a\n4,5,6\n", r"has the column 'a' more than once, expected a name for each"),
        ("a,b,c\n1,2,nan\n", r"has 'nan' in line 2, column 'c', expected a number"),
        ("a,b,c\n1,2,1_0\n", r"has '1_0' in line 2, column 'c', expected a number"),
        (
            "a;b;c\n1,5;2;3\n4;5.5;6\n",
            r"has numbers with a decimal comma \(line 2\) and with a point \(line 3\), expected",
        ),
        ("a;b;c\n1,234;2;3\n", r"has '1,234' in line 2, column 'a', which may be 1\.234 or 1234"),
        ('a\tb\tc\n"1,234"\t2\t-2,500\n', r"has '1,234' in line 2, column 'a', which may be"),
        ("a;b;c\n1;2.500;3\n2;500;3\n", r"has '2\.500' in line 2, column 'b', which may be 2\.500"),
        ("a;b;c\n1;2;1 234,5\n", r"has '1 234,5' in line 2, column 'c', expected a number"),
        ("a;b;c\n1;2\n", r"has 2 cells in line 2, expected 3 as in the header"),
        ("a;b;c\n1;2;1,234,5\n", r"has '1,234,5' in line 2, column 'c', expected a number"),
    ],
)
def test_a_table_says_line_and_column(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(OptionError, match=message):
        read_dataset(tmp_path / "t.csv", SPEC, "calibration")


@pytest.mark.parametrize(
    "text",
    [
        "a;b;c;y\r\n1,5;2;-3e-1;1\r\n",
        'a;"b, c";d;y\n1,5;2;-0,3;1,0\n',
        "a\tb\tc\ty\n1.5\t2\t-.3\t1\n",
        "a, m;b, m;c, m;y\n1,5;2,0;-,3;1\n",
        'a,"b;c;d;e;f",c,y\n1.5,2,-0.3,1\n',
        "a,b;c;d;e;f,c,y\n1.5,2,-0.3,1\n",
    ],
)
def test_semicolons_and_tabs_part_cells_with_decimal_commas(text, tmp_path):
    (tmp_path / "t.csv").write_text(text, newline="")
    data = read_dataset(tmp_path / "t.csv", SPEC, "evaluation")
    np.testing.assert_allclose(data.first(9)[SPEC[0].name], [[1.5, 2, -0.3]])
    assert data.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("a;b;c\n1,234;0,567;3\n", [1.234, 0.567, 3]),
        ("a;b;c\n1,234;2,5;3\n", [1.234, 2.5, 3]),
        ("a;b;c\n1,234;1234,567;3\n", [1.234, 1234.567, 3]),
        ("a\tb\tc\n1.234\t-2.500\t3\n", [1.234, -2.5, 3]),
    ],
)
def test_three_decimals_are_no_thousands_if_another_number_or_a_point_tells_so(text, row, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    data = read_dataset(tmp_path / "t.csv", SPEC, "calibration")
    np.testing.assert_allclose(data.first(9)[SPEC[0].name], [row], rtol=1e-6)


def test_the_column_numbers_of_pandas_are_a_header(tmp_path):
    (tmp_path / "t.csv").write_text("0,1,2\n1,2,3\n4,5,6\n")
    data = read_dataset(tmp_path / "t.csv", SPEC, "calibration")
    np.testing.assert_array_equal(data.first(9)[SPEC[0].name], [[1, 2, 3], [4, 5, 6]])


def test_a_broken_image_is_named(image_folder):
    (image_folder / "a_dogs" / "two.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(OptionError, match=r"image '.*two.png' cannot be read"):
        read_dataset(image_folder, IMAGE, "calibration")


def test_images_for_a_table_model_are_refused(image_folder):
    with pytest.raises(OptionError, match="the model's input is no image of fixed size"):
        read_dataset(image_folder, SPEC, "calibration")


class _Breaking:
    """Two samples, then an error, at every pass."""

    def __iter__(self):
        yield np.zeros(2, np.float32)
        yield np.ones(2, np.float32)
        raise OSError("the disk is gone")


@pytest.mark.parametrize("source", [_Breaking(), iter(_Breaking())])
def test_an_exception_of_the_users_iterable_becomes_an_option_error(source):
    spec = TensorSpec("image", np.dtype(np.float32), ("N", 2), ("N", "F"))
    with pytest.raises(OptionError, match=r"raised OSError \(the disk is gone\) after 2 items"):
        read_dataset(source, (spec,), "calibration")


def test_folders_are_numbered_as_the_labels(image_folder):
    names = sorted((path.name for path in image_folder.iterdir()), reverse=True)
    ordered = [*names, "without a sample"]
    data = read_dataset(image_folder, IMAGE, "evaluation", class_names=ordered)
    plain = read_dataset(image_folder, IMAGE, "evaluation")
    by_name = sorted(names)
    assert [ordered[label] for label in data.labels] == [by_name[label] for label in plain.labels]
    with pytest.raises(OptionError, match=r"has the class '.*', expected the labels 'other'"):
        read_dataset(image_folder, IMAGE, "evaluation", class_names=["other"])


def test_labels_in_text_are_the_class_names():
    texts = np.array(["b", "a", "b"])
    data = read_dataset((X[:3], texts), SPEC, "evaluation", class_names=["a", "b"])
    assert data.labels.tolist() == [1, 0, 1]
    with pytest.raises(OptionError, match="has the label 'b', expected one of 'a', 'c'"):
        read_dataset((X[:3], texts), SPEC, "evaluation", class_names=["a", "c"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: ((x, y, 1.0) for x, y in zip(X, Y, strict=True)),
        lambda: [(X[:13], Y[:13], np.ones(13)), (X[13:], Y[13:], np.ones(12))],
    ],
)
def test_weights_of_samples_are_ignored(make):
    data = read_dataset(make(), SPEC, "evaluation")
    np.testing.assert_array_equal(data.first(99)["x"], X)
    np.testing.assert_array_equal(data.labels, Y)


def test_a_tuple_of_one_number_is_a_sample_of_one_feature():
    spec = (TensorSpec("x", np.dtype(np.float32), ("N", 1), ("N", "F")),)
    data = read_dataset([(float(x),) for x in X[:, 0]], spec, "evaluation")
    np.testing.assert_array_equal(data.first(99)["x"], X[:, :1])


def test_a_pair_without_labels_has_none():
    assert read_dataset((X, None), SPEC, "evaluation").labels is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (iter([np.array([{}, {}, {}])]), "an item of Python objects"),
        (iter([None]), "an item of Python objects"),
        ([(X[:2], Y[:2]), (X[2:4], np.eye(4)[Y[2:4]])], "change their form between batches"),
    ],
)
def test_items_that_are_no_arrays_of_one_form_are_refused(source, sentence):
    with pytest.raises(OptionError, match=sentence):
        read_dataset(source, SPEC, "calibration")


def test_samples_of_different_lengths_are_refused():
    free = (TensorSpec("x", np.dtype(np.float32), ("N", "T", 3), ("N", "T", "F")),)
    batches = [np.zeros((2, 4, 3)), np.ones((2, 5, 3))]
    with pytest.raises(OptionError, match=r"different shapes, \(4, 3\) and \(5, 3\)"):
        read_dataset(batches, free, "calibration").first(4)


def test_data_that_raises_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OptionError):
        read_dataset(iter(_Breaking()), (TensorSpec("x", np.dtype("f4"), ("N", 2)),), "calibration")
    assert list(tmp_path.iterdir()) == []
