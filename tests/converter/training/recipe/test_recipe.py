"""A recipe is right, or refused in one sentence that names file and key."""

import re

import pytest

from edgeport import OptionError
from edgeport_converter.training.recipe.examples import EXAMPLES, example
from edgeport_converter.training.recipe.recipe import read_recipe
from edgeport_converter.training.search.space import combinations, read_parameters


@pytest.fixture
def recipe(tmp_path):
    """Return a function that reads a recipe's text from a file r.toml."""

    def read(text):
        path = tmp_path / "r.toml"
        path.write_text(text, encoding="utf-8")
        return read_recipe(path)

    return read


def test_what_is_left_out_has_its_default(recipe):
    read = recipe('[data]\nsource = "d.npz"\n')
    assert read.model.layers == (64, 64)
    assert read.training.epochs == 10
    assert read.training.early_stopping is None
    assert read.search is None


def test_the_examples_are_recipes(tmp_path):
    for name in EXAMPLES:
        path = tmp_path / f"{name}.toml"
        path.write_text(example(name), encoding="utf-8")
        read_recipe(path)


def test_the_keys_that_the_table_example_leaves_out_are_a_recipe(tmp_path):
    (tmp_path / "all.toml").write_text(re.sub(r"(?m)^#(?=\S)", "", example("table")))
    read = read_recipe(tmp_path / "all.toml")
    assert read.cross_validation.folds == 5
    assert len(read_parameters(read)) == 4


def test_the_mnist_example_is_the_article_s_network(tmp_path):
    path = tmp_path / "mnist.toml"
    path.write_text(example("mnist"), encoding="utf-8")
    read = read_recipe(path)
    assert (read.model.layers, read.model.activation) == ((64, 64), "relu")
    assert (read.training.epochs, read.training.optimizer) == (5, "adam")


DATA = '[data]\nsource = "d.npz"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"r\.toml is empty, expected at least \[data\] with its source"),
        (
            "[data]\n",
            r"r\.toml: there is no key 'data\.source', expected the path of a \.npz or \.csv",
        ),
        ("seed = 1\n", r"r\.toml: there is no table \[data\]: add it"),
        ("[data\n", r"r\.toml: this is not TOML, expected ']' .*\(at line 1, column 6\)"),
        (
            DATA + "sauce = 1\n",
            r"data\.sauce is no key of \[data\]: did you mean 'data\.source'",
        ),
        (
            "sead = 1\n" + DATA,
            r"sead is no key of a recipe's top level: did you mean 'seed'",
        ),
        ("data = 3\n", r"data is 3, expected a table: write \[data\]"),
        (DATA + "classes = 1\n", r"data\.classes is 1, expected a whole number from 2 to"),
        (
            DATA + "test = 1.0\n",
            r"data\.test is 1\.0, expected a number above 0 to below 1",
        ),
        (
            DATA + "image_size = [96]\n",
            r"data\.image_size is \[96\], expected a list of height and",
        ),
        (DATA + "channels = 2\n", r"data\.channels is 2, expected 1 \(grey\), 3 \(RGB\) or 4"),
        (DATA + "channels = true\n", r"data\.channels is true, expected 1 \(grey\), 3 \(RGB\) or"),
        (DATA + "stratify = 1\n", r"data\.stratify is 1, expected true or false"),
        (
            DATA + "[data.columns]\na = 'text'\n",
            r"toml: data\.columns\.a is 'text', expected 'numeric', 'category' or 'ignore':",
        ),
        (
            DATA + "[data.columns.a]\nknd = 'numeric'\n",
            r"toml: data\.columns\.a\.knd is no key of \[data\.columns\.a\]: did you .*a\.kind'\?$",
        ),
        (
            DATA + "[data.columns]\na = 'numeric'\nb = { kind = 'text' }\n",
            r"toml: data\.columns\.b\.kind is 'text', expected 'numeric', 'category' or 'ignore'",
        ),
        (
            DATA + "[data.columns]\na = { missing = [1] }\n",
            r"toml: data\.columns\.a\.missing is \[1\], expected 'mean', 'median' or a number",
        ),
        (
            DATA + "[data.columns]\na = 3\n",
            r"toml: data\.columns\.a is 3, expected a table: write \[data\.columns\.a\]",
        ),
        (
            DATA + "columns = ['a']\n",
            r"toml: data\.columns is \['a'\], expected a table of column names, each 'numeric'",
        ),
        (
            DATA + "[training]\n\nepochs = 'ten'\n",
            r"training\.epochs is 'ten', expected a whole number from 1 to 100000: corr",
        ),
        (
            DATA + "[training]\nepochs = true\n",
            r"training\.epochs is true, expected a whole number",
        ),
        (DATA + "[training]\nlearning_rate = nan\n", r"training\.learning_rate is nan, expected"),
        (DATA + "[training]\nlearning_rate = inf\n", r"training\.learning_rate is inf, expected"),
        (
            "training.batch_size = 0\n" + DATA,
            r"training\.batch_size is 0, expected a whole",
        ),
        (DATA + "training.epochs = 0\n", r"data\.training is no key of \[data\]"),
        (
            DATA + "[training.schedule]\nkind = 'cosin'\n",
            r"training\.schedule\.kind is 'cosin', expected 'constant', 'step'",
        ),
        (
            DATA + "[training]\noptimizer = { momentum = 0.9 }\n",
            r"training\.optimizer is a table, expected a name in it: add name = 'adam'",
        ),
        (
            DATA + "[training]\noptimizer = { name = 3 }\n",
            r"training\.optimizer\.name is 3, expected an optimizer's name: correct it",
        ),
        (
            DATA + "[training.early_stopping]\nmonitor = 'loss'\n",
            r"training\.early_stopping\.monitor is 'loss', expected 'val_loss', or",
        ),
        (
            DATA + "[model]\nlayers = [64, 0]\n",
            r"model\.layers is \[64, 0\], expected a list of whole",
        ),
        (DATA + "[model]\nlayers = 64\n", r"model\.layers is 64, expected a list of whole numbers"),
        (
            DATA + "[model]\nactivation = ['relu']\n",
            r"model\.activation is \['relu'\], expected one for each of 2 hidden layers",
        ),
        (
            DATA + "[model]\nkind = 'cnn'\nfilters = []\n",
            r"model\.filters is \[\], expected at least",
        ),
        (
            DATA + "[range_test]\nlow = 1.0\nhigh = 0.1\n",
            r"range_test\.high is 0\.1, expected above low, 1",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_by_the_key_s_path(recipe, text, sentence):
    with pytest.raises(OptionError, match=sentence) as refused:
        recipe(text)
    assert "\n" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(recipe):
    with pytest.raises(OptionError) as refused:
        recipe(
            DATA + "test = 'half'\n[training]\nepochs = 0\n[training.early_stopping]\n"
            "patience = 'soon'\n[modle]\n"
        )
    assert str(refused.value).partition("r.toml: ")[2] == (
        "data.test is 'half', expected a number above 0 to below 1: correct it; "
        "training.epochs is 0, expected a whole number from 1 to 100000: correct it; "
        "training.early_stopping.patience is 'soon', expected a whole number from 1: correct it; "
        "modle is no key of a recipe's top level: did you mean 'model'?"
    )


def test_what_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"is a folder, expected a TOML file"):
        read_recipe(tmp_path)
    with pytest.raises(OptionError, match=r"does not exist, expected a TOML file: .*--example"):
        read_recipe(tmp_path / "no.toml")
    with pytest.raises(OptionError, match=r"the recipe is a int, expected the path of a TOML file"):
        read_recipe(7)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match=r"is not UTF-8 text"):
        read_recipe(tmp_path / "b.toml")


def test_a_dict_is_refused_by_key():
    with pytest.raises(OptionError, match=r"^the recipe: training\.epochs is 0, expected"):
        read_recipe({"data": {"source": "x.npz"}, "training": {"epochs": 0}})


def test_the_digest_is_of_what_is_said_not_of_how(recipe):
    first = recipe("# a comment\nseed = 3\n" + DATA).sha256
    assert recipe("seed=3\n\n" + DATA).sha256 == first
    assert recipe("seed = 4\n" + DATA).sha256 != first


SEARCH = DATA + "[search]\nsampler = 'grid'\ntrials = 6\n[search.parameters]\n"


def test_a_grid_is_every_combination(recipe):
    read = recipe(
        SEARCH + "training.learning_rate = {low = 1e-4, high = 1e-2, log = true, steps = 3}\n"
        "model.layers = [[8], [8, 4]]\n"
    )
    points = list(combinations(read_parameters(read)))
    rates = [point["training.learning_rate"] for point in points]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2])
    assert [point["model.layers"] for point in points] == [[8], [8, 4]] * 3


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("model.drop = [0.1]", r"search\.parameters\.model\.drop|model\.drop is no key of"),
        (
            "training.learning_rate = [0.1, -1]",
            r"training\.learning_rate is -1, expected a number above",
        ),
        ("training.learning_rate = [0.1, 0.1]", r".* expected different values"),
        (
            "training.learning_rate = 0.1",
            r".* is 0\.1, expected a list of values, or a table",
        ),
        ("training.learning_rate = {low = 1}", r"there is no key '.*rate.high', expected a number"),
        ("training.learning_rate = {low = 1, high = 1}", r"is 1, expected a high above low, 1"),
        (
            "training.learning_rate = {low = 0.1, hihg = 1}",
            r"hihg is no key of .*: did you mean '.*rate.high'",
        ),
        (
            "training.learning_rate = {low = 0.1, high = 1}",
            r"has no steps, expected how many values",
        ),
        (
            "model.dropout = {low = 0, high = 0.5, log = true}",
            r"is 0, expected a low above 0 with log",
        ),
        ("data.test = [0.1]", r"expected a key of \[model\], \[training\] or \[augmentation\]"),
        (
            "training.batch_size = [1, 2, 3, 4, 5, 6, 7]",
            r"makes a grid of 7 points, expected at most the 6",
        ),
        ("", r"search\.parameters is empty"),
    ],
)
def test_a_wrong_search_is_refused(recipe, line, sentence):
    with pytest.raises(OptionError, match=sentence) as refused:
        read_parameters(recipe(SEARCH + line + "\n"))
    assert "\n" not in str(refused.value)
