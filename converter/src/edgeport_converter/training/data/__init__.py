"""A recipe's data: read, labelled, split, augmented, in batches.

augmentation  random changes of the samples in each epoch: moved, turned, noisy, mixed
batches       batches in an order that depends on seed and epoch alone
csv_tables    tables in .csv files: numeric columns, categories and the target
reading       from the recipe's files to samples and targets that fit the task, all checked
samples       samples and targets in memory, the form of all training data
splitting     training, validation and test sets, and folds, by scikit-learn with a seed
"""
