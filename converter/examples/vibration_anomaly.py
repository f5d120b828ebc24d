"""Vibration anomaly: an autoencoder of accelerometer spectra, whose artifact answers with a score.

It learns sound machines alone; the spectrum and the error of its reconstruction are in the graph.
"""

import keras
import numpy as np
from made_data import vibrate
from sklearn.metrics import roc_auc_score

from edgeport import Predictor
from edgeport_converter import Signal, convert

RATE, WINDOW = 1600, 256
keras.utils.set_random_seed(2)
normal = np.stack([vibrate(4, RATE) for _ in range(80)]).reshape(-1, WINDOW, 3)  # (N, T, C) in g
worn = np.stack([vibrate(4, RATE, wear=0.6) for _ in range(10)]).reshape(-1, WINDOW, 3)
windows = keras.Input((WINDOW, 3), name="acceleration")
real, imaginary = keras.ops.rfft(keras.ops.transpose(windows, (0, 2, 1)))
levels = keras.layers.Flatten()(keras.ops.log(real**2 + imaginary**2 + 1))
scale = keras.layers.Normalization()
scale.adapt(keras.Model(windows, levels).predict(normal[:1500], verbose=0))
x = levels = scale(levels)
for units, activation in ((64, "relu"), (12, "relu"), (64, "relu"), (levels.shape[1], None)):
    x = keras.layers.Dense(units, activation)(x)
model = keras.Model(windows, keras.ops.mean((x - levels) ** 2, axis=1, keepdims=True))
model.compile("adam", "mean_absolute_error")
model.fit(normal[:1500], np.zeros(1500), epochs=20, verbose=0)  # the score itself is the loss

test, is_worn = np.concatenate([normal[1500:], worn]), np.repeat([0, 1], [500, 250])
signal = Signal(RATE, window=WINDOW, hop=WINDOW // 2, channels=3, dtype="float32")
data = {"calibration": normal[:500], "evaluation": (test, is_worn)}
convert(model, "vibration.onnx", signal=signal, metric=roc_auc_score, **data)

with Predictor.load("vibration.onnx") as predictor:
    limit = np.quantile(predictor.predict(normal[:1500]), 0.999)  # of the artifact's own scores
    alarms = [score > limit for score in predictor.windows([vibrate(4, RATE, wear=0.6)])]
    print(f"a worn bearing: {np.sum(alarms)} of {len(alarms)} windows are above {limit:.2f}")
    scores = predictor.predict(test)
area = [roc_auc_score(is_worn, each) for each in (model.predict(test, verbose=0), scores)]
print("area under the ROC curve: Keras {:.4f}, artifact {:.4f}".format(*area))
