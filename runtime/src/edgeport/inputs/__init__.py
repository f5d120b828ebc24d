"""From a caller's value to arrays that the engine cannot misread. Knows no engine.

batching  from any number of samples to runs, with answers that do not depend on the grouping
casting   one value: from anything that numpy reads as numbers to an exact array
examples  trial inputs for a model without samples, to measure or to compare it
feeds     what ``predict`` accepts: names, shapes, batches
pictures  pictures of Pillow as inputs: the pixels as they are, upright, or a refusal
ranges    non-finite values and values out of range: counted, told, or refused
"""
