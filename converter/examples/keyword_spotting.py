"""Keyword spotting: a microphone's int16 samples in, words out, cut into windows on the device.

Instead of arrays, say calibration="words/": a folder of WAV files for each word.
"""

import keras
import numpy as np
from made_data import SOUND_RATE, WORDS, speak

from edgeport import Predictor
from edgeport_converter import Signal, convert

keras.utils.set_random_seed(1)
y = np.arange(1300) % len(WORDS)
x = np.stack([speak(word) for word in y])  # (N, T) int16
model = keras.Sequential([keras.Input(x.shape[1:])])
model.add(keras.layers.MelSpectrogram(256, 128, sampling_rate=SOUND_RATE, num_mel_bins=32))
model.add(keras.layers.Reshape((32, -1, 1)))
for filters in (8, 16, 32):
    model.add(keras.layers.BatchNormalization())
    model.add(keras.layers.Conv2D(filters, 3, strides=2, activation="relu"))
model.add(keras.layers.GlobalAveragePooling2D())
model.add(keras.layers.Dense(len(WORDS), activation="softmax"))
model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
model.fit(x[:1000] / 32768, y[:1000], epochs=8, verbose=0)

signal = Signal(SOUND_RATE, window=x.shape[1], hop=x.shape[1] // 2)
data = {"calibration": x[:300], "evaluation": (x[1000:], y[1000:])}
convert(model, "words.onnx", labels=WORDS, signal=signal, one_by_one=True, max_drop=0.01, **data)

with Predictor.load("words.onnx") as predictor:
    recording = np.concatenate([speak(word) for word in (1, 0, 3, 2)]).tobytes()
    buffers = (recording[at : at + 320] for at in range(0, len(recording), 320))
    for number, scores in enumerate(predictor.windows(buffers)):
        print(f"{number * signal.hop / signal.rate:.2f} s  {WORDS[scores.argmax()]}")
    scores = predictor.predict(x[1000:])
expected = model.predict(x[1000:] / 32768, batch_size=1, verbose=0)
right = [np.mean(each.argmax(axis=1) == y[1000:]) for each in (expected, scores)]
print("accuracy on 300 windows: Keras {:.4f}, artifact {:.4f}".format(*right))
