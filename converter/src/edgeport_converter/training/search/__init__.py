"""The search for the best values of a recipe's keys, by Optuna.

space    [search.parameters]: what a search may choose from, as the recipe says it
study    the Optuna study: where it is kept, who draws its points, how processes share it
storage  the database of a study: its URL without a password, and connections
trials   the search: trials of a recipe with other values, until the study's budget is spent
"""
