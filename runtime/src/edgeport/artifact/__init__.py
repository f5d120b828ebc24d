"""The file: what it says, whether it is whole, who made it. numpy only.

card           the model card: all that a device has to know about an artifact
card_changes   what callers would notice if one artifact took the place of another
column         what a card says of each column of a table
frame_format   what frames an input takes from a camera, where a card says so
golden         golden samples: known inputs with known outputs, stored in the artifact
graph_nodes    the nodes of an ONNX file: names, operators, inputs and outputs
protobuf       the one reader of protobuf messages; tensors in other files are refused
records        what the records of a card have in common: equality, hash and text
seal           the seal: a digest over the whole file, checked before any parser sees a byte
signal_format  how a recording becomes windows, where a card says so
signature      who made an artifact: signatures, made and checked
"""
