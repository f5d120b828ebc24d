"""The search for the best values of a recipe's keys, by Optuna.

search   the search: trials of a recipe with other values, until the study's budget is spent
space    [search.parameters]: what a search may choose from, as the recipe says it
studies  optuna studies that several processes or machines share: storage, planned trials,
claims
"""
