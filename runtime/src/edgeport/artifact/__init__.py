"""The file: what it says, whether it is whole, who made it. numpy only.

card           the model card: all that a device has to know about an artifact
external_data  weights that a model keeps in files of their own ("external data" in ONNX)
golden         golden samples: known inputs with known outputs, stored in the artifact
protobuf       A model's bytes without the values of its large weights: all that a search has
to read
records        what the records of a card have in common: equality, hash and text
seal           the seal: a digest over the whole file, checked before any parser sees a byte
signature      who made an artifact: signatures, made and checked
"""
