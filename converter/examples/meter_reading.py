"""Meter reading by regression: a gray camera frame of a dial in, a pressure in bar out."""

import keras
import numpy as np
from made_data import photograph_meter

from edgeport import Predictor
from edgeport_converter import convert

keras.utils.set_random_seed(4)
y = np.random.default_rng(4).uniform(0, 10, (1500, 1)).astype("float32")
x = np.stack([photograph_meter(bar) for (bar,) in y])  # (N, H, W, 1) uint8, as the camera gives it
small = np.asarray(keras.ops.image.resize(x.astype("float32"), (48, 64)))
model = keras.Sequential([keras.Input((48, 64, 1)), keras.layers.Rescaling(1 / 127.5, -1)])
for filters in (8, 16, 32, 32):
    model.add(keras.layers.Conv2D(filters, 3, strides=2, activation="relu", padding="same"))
    model.add(keras.layers.BatchNormalization())
model.add(keras.layers.Flatten())
model.add(keras.layers.Dense(64, "relu"))
model.add(keras.layers.Dense(1, name="bar"))
model.compile(keras.optimizers.Adam(2e-3), "mean_squared_error")
model.fit(small[:1200], y[:1200], epochs=24, verbose=0)

error = keras.losses.mean_absolute_error  # an error: smaller is better, and max_drop is in bar
data = {"calibration": x[:300], "evaluation": (x[1200:], y[1200:])}
convert(model, "meter.onnx", frames="keras order=gray", metric=error, max_drop=0.02, **data)

with Predictor.load("meter.onnx") as predictor:
    print(f"a meter at 7.5 bar reads {predictor.predict(photograph_meter(7.5)).item():.2f} bar")
    readings = predictor.predict(x[1200:])
expected = model.predict(small[1200:], verbose=0)
errors = [np.abs(each - y[1200:]).mean() for each in (expected, readings)]
print("mean error in bar on 300 photos: Keras {:.4f}, artifact {:.4f}".format(*errors))
