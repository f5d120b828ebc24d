"""Which parts of an input carried the answer. Loaded by `edgeport explain` and `edgeport.explain`.

answers      the number that is explained: a class' score, or a value
explain      explain(): which method fits an artifact, or why none does
filling      what stands in place of the occluded part: mean, gray, blur or a number
occlusion    occlusion sensitivity of pictures and signals
permutation  permutation importance of the columns of a table
"""
