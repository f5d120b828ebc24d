"""The file: what it says, whether it is whole, who made it. numpy only.

card           the model card: everything a device has to know about an artifact, as plain
data
golden         golden samples: known inputs with known outputs that travel inside the artifact
protobuf       the one reader of protobuf messages; tensors in other files are refused
seal           what stands between a file and the engine: no damaged byte reaches a parser
signature      signatures: who made an artifact, beyond the seal that says it is whole
"""
