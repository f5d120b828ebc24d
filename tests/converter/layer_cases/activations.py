"""Every function of keras.activations, and the layers that are activations."""

from __future__ import annotations

import keras
from keras import layers

from layer_cases.case import Registry

CASES = Registry()

NAMES = (
    *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid"),
    *("hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid"),
    *("log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink"),
    *("softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax"),
    *("squareplus", "swish", "tanh", "tanh_shrink"),
)

for _name in NAMES:
    CASES.layer(
        f"activation {_name}",
        (6,),
        lambda name=_name: layers.Activation(getattr(keras.activations, name)),
    )
for _name in ("gelu", "softplus", "mish", "selu", "hard_silu", "softmax"):
    CASES.layer(
        f"activation {_name} of large values",
        (6,),
        lambda name=_name: layers.Activation(getattr(keras.activations, name)),
        values=lambda shape, g: g.normal(0, 40, shape),
    )


class Configured(layers.Layer):
    """A layer around keras.activations, as a user's own layer would call it."""

    def __init__(self, function: str, **options: float) -> None:
        super().__init__()
        self.function, self.options = function, options

    def call(self, x):
        return getattr(keras.activations, self.function)(x, **self.options)


CASES.layers_on(
    (6,),
    {
        "activation threshold": lambda: Configured("threshold", threshold=0.3, default_value=-1.0),
        "activation gelu exact": lambda: Configured("gelu", approximate=False),
        "activation celu alpha": lambda: Configured("celu", alpha=0.4),
        "activation elu alpha": lambda: Configured("elu", alpha=0.4),
        "activation relu options": lambda: Configured(
            "relu", negative_slope=0.1, max_value=1.0, threshold=0.2
        ),
        "activation squareplus b": lambda: Configured("squareplus", b=2.0),
        "activation hard_shrink threshold": lambda: Configured("hard_shrink", threshold=1.0),
        "ReLU": lambda: layers.ReLU(),
        "ReLU max_value": lambda: layers.ReLU(max_value=1.0),
        "ReLU negative_slope threshold": lambda: layers.ReLU(
            max_value=2.0, negative_slope=0.2, threshold=0.5
        ),
        "LeakyReLU": lambda: layers.LeakyReLU(negative_slope=0.1),
        "ELU": lambda: layers.ELU(alpha=0.7),
        "PReLU": lambda: layers.PReLU(),
        "Softmax": lambda: layers.Softmax(),
    },
)
CASES.layer("PReLU shared axes", (5, 4, 3), lambda: layers.PReLU(shared_axes=[1, 2]))
CASES.layer("PReLU shared axes free", (None, None, 3), lambda: layers.PReLU(shared_axes=[1, 2]))
CASES.layer("Softmax axis", (4, 3), lambda: layers.Softmax(axis=1))
CASES.layer("Softmax axes", (4, 3), lambda: layers.Softmax(axis=(1, 2)))
CASES.layer("activation softmax rank 4", (3, 4, 5), lambda: layers.Activation("softmax"))
CASES.layer("activation glu rank 3", (None, 6), lambda: layers.Activation("glu"))


def _softmax_mask():
    x = keras.Input((5,), name="x")
    mask = keras.Input((5,), dtype="bool", name="mask")
    return keras.Model([x, mask], layers.Softmax()(x, mask=mask))


CASES.model(
    "Softmax mask",
    _softmax_mask,
    values={"x": "normal", "mask": lambda s, g: [[True, True, False, True, False]] * s[0]},
)
