"""Forecast with state: an LSTM that is given one hour at a time and remembers the hours before.

An ONNX graph has no memory: the state goes in and comes out, and the device hands it back.
"""

import keras
import numpy as np
from made_data import measure_load

from edgeport import Predictor
from edgeport_converter import convert


def follow(predict, loads):
    """Yield each hour's inputs and forecast; the state of these N buildings begins at zero."""
    h = c = np.zeros((len(loads), 24), "float32")
    for hour in range(loads.shape[1]):
        inputs = {"load": loads[:, hour : hour + 1], "h": h, "c": c}
        forecast, h, c = predict(inputs).values()
        yield inputs, forecast


keras.utils.set_random_seed(7)
weeks = measure_load(weeks=30)  # (N, T, 1)
lstm = keras.layers.LSTM(24, return_sequences=True, return_state=True)
dense = keras.layers.Dense(1)
week = keras.Input((None, 1))
trained = keras.Model(week, dense(lstm(week)[0]))
trained.compile(keras.optimizers.Adam(0.01), "mean_squared_error")
trained.fit(weeks[:24, :-1], weeks[:24, 1:], epochs=60, batch_size=8, verbose=0)

shapes = {"load": (1, 1), "h": (24,), "c": (24,)}  # the same layers once more, for one hour
now = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
sequence, h, c = lstm(now["load"], initial_state=[now["h"], now["c"]])
step = keras.Model(now, {"forecast": dense(sequence)[:, 0], "h_next": h, "c_next": c})
hours = [inputs for inputs, _ in follow(step.predict_on_batch, weeks[:24, :48])]
calibration = {name: np.concatenate([inputs[name] for inputs in hours]) for name in shapes}
convert(step, "load.onnx", calibration=calibration)

with Predictor.load("load.onnx") as predictor:
    found = [forecast for _, forecast in follow(predictor.predict, weeks[24:, :-1])]
expected = trained.predict(weeks[24:, :-1], verbose=0)
errors = [np.abs(each - weeks[24:, 1:]).mean() for each in (expected, np.stack(found, axis=1))]
print("mean error over 6 weeks of hours: Keras {:.4f}, artifact {:.4f}".format(*errors))
