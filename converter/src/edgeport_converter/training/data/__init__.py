"""A recipe's data: read, labelled, split, augmented, in batches.

augmentation  more data from the data: every epoch sees each sample in another form
batches       batches in an order that follows from seed and epoch alone
csv_tables    tables in .csv files whose columns have declared types, the target among them
labels        targets held to the task: class numbers that can be learned, or numbers
reading       the recipe's data: files to samples and targets, every value checked
samples       samples and targets in memory: the one form that all training data comes in
splitting     training, validation and test sets, and folds: scikit-learn's splitters, seeded
"""
