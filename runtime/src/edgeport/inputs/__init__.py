"""From a caller's value to arrays that the engine cannot misread. Knows no engine.

batching  from any number of samples to runs that the engine takes, with an answer that does
not depend on how they were grouped
casting   one value at a time: from anything numpy can see as numbers to an exact array
examples  made-up inputs for a model of which nothing else is at hand: to measure it, or to
compare
feeds     what ``predict`` accepts, and the refusals of names, shapes and batches
pictures  pictures of Pillow as inputs: the pixels as they are, upright, or a refusal
ranges    values that a model runs on without complaint, and answers nonsense: see, count,
tell, refuse
"""
