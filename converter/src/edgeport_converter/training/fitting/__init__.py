"""Networks, and how they are fitted and evaluated.

checkpoints       the state of a training after an epoch, in one file that is replaced in one
step
cross_validation  k-fold cross-validation: what to expect of a recipe before the final fit
spends its data
evaluation        what the test set says of a trained model; scikit-learn has the formulas
fit               the fit itself: epochs, best weights, early stopping, going on after a kill
interrupts        ctrl-C that ends a training between two batches instead of anywhere
lr_range_test     the learning-rate range test: one pass under a growing rate shows where
training is fastest
networks          the model of a recipe: built, compiled, its input normalization inside
schedules         how the learning rate moves: formulas only, no framework
"""
