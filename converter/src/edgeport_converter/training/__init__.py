"""From data and a recipe to a trained Keras model.

commands  `edgeport train`, registered with the runtime's command by entry point
train     train(): the stages of a training in running order
data/     the recipe's data: read, split, augmented, in batches
fitting/  networks, and how they are fitted and evaluated
recipe/   the recipe: its keys, their checks, and the example texts
results/  what a training reports and writes
search/   the search for the best values of a recipe's keys, by Optuna
"""
