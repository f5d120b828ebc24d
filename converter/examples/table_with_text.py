"""A table with text: fuel consumption of real cars from six numbers and the name of a region.

The recipe learns scales, missing values and categories; the artifact takes rows by column name.
"""

import keras
import numpy as np
import pandas as pd
from mlxtend.data import autompg_data

from edgeport import InputError, Predictor
from edgeport_converter import convert, train

cars, mpg = autompg_data()
numbers = ["cylinders", "displacement_in3", "power_hp", "weight_lb", "to_60_mph_s", "year"]
table = pd.DataFrame(cars[:, :6], columns=numbers)
table["region"] = np.array(["", "USA", "Europe", "Japan"])[cars[:, 6].astype(int)]
table.assign(mpg=mpg).to_csv("cars.csv", index=False)

columns = {"region": "category", "power_hp": {"unit": "hp", "missing": "median"}}
data = {"source": "cars.csv", "task": "regression", "target": "mpg", "columns": columns}
training = {"epochs": 80, "batch_size": 16, "learning_rate": 0.01}
recipe = {"seed": 5, "data": data, "model": {"layers": [32, 16]}, "training": training}
run = train(recipe, "cars.keras").run_folder
convert("cars.keras", "cars.onnx", calibration=run / "calibration.npz", evaluation=run / "test.npz")

with Predictor.load("cars.onnx") as predictor:
    row = table.iloc[0].to_dict()
    print(f"the first car: {predictor.predict(row).item():.1f} mpg, measured {mpg[0]:.1f}")
    print(f"its power unknown: {predictor.predict(row | {'power_hp': None}).item():.1f} mpg")
    try:
        predictor.predict({name: row[name] for name in numbers})
    except InputError as error:
        print(f"without its region it is refused: {error}")
    answers = predictor.predict(table)
model = keras.saving.load_model("cars.keras")
texts = keras.ops.convert_to_tensor(table[["region"]].to_numpy(str))
expected = model.predict({"features": table[numbers].to_numpy(), "region": texts}, verbose=0)
errors = [np.abs(each[:, 0] - mpg).mean() for each in (expected, answers)]
print("mean error in mpg on 392 cars: Keras {:.4f}, artifact {:.4f}".format(*errors))
