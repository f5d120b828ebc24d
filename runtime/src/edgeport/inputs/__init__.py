"""From a caller's value to arrays that the engine cannot misread. No engine.

batching  splits, pads and chunks a batch
casting   one value: from anything that numpy sees as numbers to an exact array
examples  trial inputs: made up, or repeated from a sample of the user's
feeds     what ``predict`` accepts, and the refusals of names, shapes and batches
ranges    NaN, infinity and values outside of calibrated ranges
"""
