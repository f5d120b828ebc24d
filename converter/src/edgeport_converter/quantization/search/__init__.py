"""Which recipes are tried for a graph, and which candidate is chosen.

calibrated_graph  A float graph with what the calibration data says of it
candidates        from a recipe to a finished graph that was measured; and the layers that
lose most
objectives        what the user wants most, as numbers: latency, size, or both
search            which recipe: the smallest and fastest graph that keeps the budget, with the
evidence
selection         the quantization half of the pipeline: which recipes to try, and which of
them to take
sensitivity       which layers lose the signal: the error that quantizing one layer alone
brings to the outputs
"""
