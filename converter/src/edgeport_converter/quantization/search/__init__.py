"""Which recipes are tried for a graph, and which candidate is chosen.

candidates    from a recipe to a measured graph; the layers in the order of their sensitivity
cluster       the same as tasks of a Ray cluster, with the same choice as on one machine
composition   the cheapest format of each layer, by the times of a board: a minimum cut
faster_forms  one recipe's layers in faster forms, found by timing
objective     which candidate is the best, by time, size, or both
search        which recipe is tried next until the budget is kept
selection     the kinds of recipe that are tried, and the best candidate for the objective
telling       what is told while candidates are tried: each one, and the best so far
"""
