"""Networks, and how they are fitted and evaluated.

callbacks         what happens between batches and between epochs, as Keras callbacks
checkpoint        the state of a training after an epoch, in one file
cross_validation  k-fold cross-validation: what accuracy to expect before the final fit
evaluation        figures of a trained model on a test set, by scikit-learn's formulas
fit               the fit itself: Keras runs it, callbacks decide between the epochs
lr_range_test     the learning-rate range test: one pass under a growing rate
networks          the model of a recipe: built, compiled, its input normalization inside
"""
