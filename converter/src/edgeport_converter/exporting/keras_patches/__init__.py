"""What Keras is made to do otherwise while a model is traced, each patch with its reason.

layers           Keras functions said in other words while a model is traced
lookups          lookup tables as ONNX-ML LabelEncoder nodes
placeholders     marker operations: places in a traced TensorFlow graph that an ONNX node will
take
recurrent        LSTM, GRU and SimpleRNN layers as the ONNX nodes of these names
recurrent_cells  Keras' recurrent cells as ONNX describes them: gates, activations
"""
