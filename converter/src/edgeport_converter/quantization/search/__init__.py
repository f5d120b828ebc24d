"""Which recipes are tried for a graph, and which candidate is chosen.

candidates  from a recipe to a measured graph; the layers in the order of their sensitivity
search      the smallest change of a recipe that keeps the budget
selection   the kinds of recipe that are tried, and the best candidate for the objective
"""
