"""Text after tokenizing on the device: which library does a sentence of documentation speak of?

ONNX has no operators that clean and cut text: ``tokenize`` runs on the device, too. The vocabulary
is in the artifact, so it cannot be another one than the model's.
"""

import re

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scipy.stats
from made_data import read_docstrings

from edgeport import Predictor
from edgeport_converter import convert


def tokenize(sentence, length=24):
    """Return (T,) text: the first words in lower case, then "" up to the length."""
    words = re.findall("[a-z]+", sentence.lower())[:length]
    return np.array(words + [""] * (length - len(words)))


keras.utils.set_random_seed(8)
topics = {"keras": keras.layers, "matplotlib": plt, "pandas": pd, "scipy": scipy.stats}
texts, y = read_docstrings(topics.values())
x = np.stack([tokenize(text) for text in texts])
lookup = keras.layers.StringLookup(max_tokens=3000, mask_token="")
lookup.adapt(x[:3000])
words = keras.Input(x.shape[1:], dtype="string", name="words")
vectors = keras.layers.Embedding(3000, 24, mask_zero=True)(lookup(words))
mean = keras.layers.Dropout(0.4)(keras.layers.GlobalAveragePooling1D()(vectors))
model = keras.Model(words, keras.layers.Dense(4, activation="softmax", name="topic")(mean))
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(keras.ops.convert_to_tensor(x[:3000]), y[:3000], epochs=8, verbose=0)

data = {"calibration": x[:300], "evaluation": (x[3000:], y[3000:])}
convert(model, "topics.onnx", labels=list(topics), **data)

with Predictor.load("topics.onnx", finite=True) as predictor:  # no words at all: NaN, refused
    print(predictor.classify(tokenize("Draw a line with markers on the current axes")))
    right = np.mean(predictor.predict(x[3000:]).argmax(axis=1) == y[3000:])
expected = model.evaluate(keras.ops.convert_to_tensor(x[3000:]), y[3000:], verbose=0)[1]
print(f"accuracy on {len(x) - 3000} sentences: Keras {expected:.4f}, artifact {right:.4f}")
