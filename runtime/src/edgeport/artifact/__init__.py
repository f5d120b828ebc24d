"""The file: what it says, whether it is whole, who made it. numpy only.

card           the model card: everything a device has to know about an artifact, as plain
data
external_data  weights that a model keeps in files of their own ("external data" in ONNX)
golden         golden samples: known inputs with known outputs that travel inside the artifact
protobuf       A model's bytes without the values of its large weights: all that a search has
to read
records        what all records of a card have in common: they compare and print by fields
seal           what stands between a file and the engine: no damaged byte reaches a parser
signature      signatures: who made an artifact, beyond the seal that says it is whole
"""
