"""Several inputs: three groups of measurements of one cell sample, each with its column names.

Real samples of breast tissue, as scikit-learn ships them. A second head only helps the training:
``outputs=`` leaves it out of the artifact.
"""

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer

from edgeport import Predictor
from edgeport_converter import convert

keras.utils.set_random_seed(6)
table, is_benign = load_breast_cancer(return_X_y=True, as_frame=True)
table = table.sample(frac=1, random_state=6)
y = is_benign[table.index].to_numpy()
groups = {"mean": table.columns[:10], "error": table.columns[10:20], "worst": table.columns[20:]}
x = {name: table[columns].to_numpy("float32") for name, columns in groups.items()}
train, test = ({name: x[name][rows] for name in x} for rows in (slice(400), slice(400, None)))

inputs, parts = {}, []
for name in groups:
    inputs[name] = keras.Input((10,), name=name)
    scale = keras.layers.Normalization()
    scale.adapt(train[name])
    parts.append(keras.layers.Dense(8, "relu")(scale(inputs[name])))
shared = keras.layers.Dense(16, "relu")(keras.layers.Concatenate()(parts))
diagnosis = keras.layers.Dense(2, "softmax", name="diagnosis")(shared)
area = keras.layers.Dense(1, name="area")(shared)
model = keras.Model(inputs, {"diagnosis": diagnosis, "area": area})
losses = {"diagnosis": "sparse_categorical_crossentropy", "area": "mean_squared_error"}
model.compile("adam", losses, loss_weights={"diagnosis": 1, "area": 1e-7})
targets = {"diagnosis": y[:400], "area": table["worst area"][:400]}
model.fit(train, targets, epochs=40, verbose=0)

labels = ["malignant", "benign"]
data = {"calibration": train, "evaluation": (test, y[400:])}
heads = {"outputs": ["diagnosis"], "feature_names": groups, "labels": labels}
convert(model, "tissue.onnx", max_drop=0.01, **heads, **data)

with Predictor.load("tissue.onnx") as predictor:
    best = predictor.classify(table.iloc[400].to_dict())[0]
    print(f"{best.name}, {best.score:.0%} sure; the doctors said {labels[y[400]]}")
    scores = predictor.predict(table[400:])  # a table of pandas, matched by column name
expected = model.predict(test, verbose=0)["diagnosis"]
right = [np.mean(each.argmax(axis=1) == y[400:]) for each in (expected, scores)]
print("accuracy on 169 samples: Keras {:.4f}, artifact {:.4f}".format(*right))
