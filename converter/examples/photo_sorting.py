"""Photo sorting: a folder of photos for each class in, a camera's frames of any size on the device.

Leave ``save_photos`` out and put your own photos into photos/train/CLASS/ and photos/test/CLASS/.
"""

from pathlib import Path

import keras
import numpy as np
from made_data import save_photos
from PIL import Image

from edgeport import Predictor
from edgeport_converter import convert

keras.utils.set_random_seed(3)
save_photos("photos")
read = keras.utils.image_dataset_from_directory
train = read("photos/train", image_size=(48, 48), verbose=False)
test = read("photos/test", image_size=(48, 48), verbose=False)
model = keras.Sequential([keras.Input((48, 48, 3)), keras.layers.Rescaling(1 / 127.5, -1)])
for filters in (16, 32, 64):
    model.add(keras.layers.Conv2D(filters, 3, strides=2, activation="relu"))
model.add(keras.layers.GlobalAveragePooling2D())
model.add(keras.layers.Dense(len(train.class_names), activation="softmax"))
model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(train, epochs=15, shuffle=False, verbose=0)  # the data set itself shuffles

folders = {"calibration": "photos/train", "evaluation": "photos/test"}
convert(model, "photos.onnx", frames="keras", labels=train.class_names, **folders)

with Predictor.load("photos.onnx") as predictor:
    right = [
        predictor.classify(Image.open(path))[0].name == path.parent.name
        for path in Path("photos/test").glob("*/*.png")
    ]
expected = model.evaluate(test, verbose=0)[1]
print(f"accuracy on {len(right)} photos: Keras {expected:.4f}, artifact {np.mean(right):.4f}")
