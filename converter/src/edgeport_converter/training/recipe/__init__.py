"""The recipe: its keys, their checks, and ready examples.

recipe     the recipe: everything that a training needs to know, from a TOML file or a dict
tables     the tables of a recipe: a pydantic model each, every key with type, bounds and default
examples/  ready recipes with comments, as `edgeport train --example` prints them
"""
