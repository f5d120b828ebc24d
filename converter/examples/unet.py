"""A U-Net: which pixels of a gray frame are a scratch, for a camera over a belt."""

import keras
import numpy as np
from made_data import photograph_scratch

from edgeport import Predictor
from edgeport_converter import convert


def block(x, filters):
    """Return two convolutions of x."""
    for _ in range(2):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return x


def dice(scores, masks):
    """Return the overlap of found and true scratches: 1 where they are the same pixels."""
    found = scores.argmax(axis=-1)
    return 2 * np.sum(found * masks) / (np.sum(found) + np.sum(masks))


keras.utils.set_random_seed(10)
x, y = map(np.stack, zip(*(photograph_scratch() for _ in range(700)), strict=True))  # uint8
frame = keras.Input((64, 64, 1), name="frame")
fine = block(frame, 8)
middle = block(keras.layers.MaxPooling2D()(fine), 16)
deep = block(keras.layers.MaxPooling2D()(middle), 32)
for filters, skip in ((16, middle), (8, fine)):
    wide = keras.layers.Conv2DTranspose(filters, 2, strides=2)(deep)
    deep = block(keras.layers.Concatenate()([skip, wide]), filters)
model = keras.Model(frame, keras.layers.Conv2D(2, 1, activation="softmax", name="pixels")(deep))
model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
model.fit(x[:500] / 255, y[:500], epochs=8, batch_size=16, verbose=0)

data = {"calibration": x[:200], "evaluation": (x[500:], y[500:])}
pixels = {"input_uint8": True, "scale": 1 / 255}
convert(model, "scratches.onnx", metric=dice, max_drop=0.01, **pixels, **data)

with Predictor.load("scratches.onnx") as predictor:
    found = np.array(list(predictor.stream(x[500:], batch_size=8)))
overlap = [dice(each, y[500:]) for each in (model.predict(x[500:] / 255, verbose=0), found)]
print("Dice overlap on 200 frames: Keras {:.4f}, artifact {:.4f}".format(*overlap))
