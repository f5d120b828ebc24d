"""Every architecture of keras.applications, random weights, small inputs."""

from __future__ import annotations

import keras

from layer_cases.case import Registry

CASES = Registry()

# Name -> the smallest input that the architecture takes, rounded up to keep every stage alive.
SIZES = {
    **dict.fromkeys(
        (
            *("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
            *("DenseNet121", "DenseNet169", "DenseNet201"),
            *(f"EfficientNetB{number}" for number in range(8)),
            *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
            *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
            *("NASNetMobile", "NASNetLarge"),
            *("ResNet50", "ResNet101", "ResNet152"),
            *("ResNet50V2", "ResNet101V2", "ResNet152V2"),
        ),
        64,
    ),
    "InceptionV3": 80,
    "InceptionResNetV2": 80,
    "VGG16": 32,
    "VGG19": 32,
    "Xception": 72,
}


def _application(name: str, size: int):
    def build():
        return getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
        )

    return build


for _name, _size in SIZES.items():
    CASES.model(
        f"application {_name}",
        _application(_name, _size),
        values="image",
        batches=(1,),
        tolerance=1e-3,
    )
