"""The recipe: its keys, their checks, and the example texts.

recipe  the recipe: everything that a training needs to know, from a TOML file or a dict
schema  how a recipe's tables become frozen records, and how a wrong one is refused
tables  the tables of a recipe and their keys: a frozen record each, every field with its rule
"""
