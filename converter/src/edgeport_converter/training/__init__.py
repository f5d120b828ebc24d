"""From data and a recipe to a trained Keras model.

In running order; the modules marked with brackets import these at their top and are themselves
imported late, by ``run``:

    recipes       the recipe: TOML or a dict -> frozen records; with keys, schema, examples/
    reading       files -> samples and targets, checked; with samples, labels, tables
    splitting     [scikit-learn] training, validation, test, folds; stratified, seeded
    networks      [keras] the model, its input normalization inside
    augmenting    [tensorflow] other samples each epoch, beside the model
    batches       [tensorflow] samples in an order that follows from seed and epoch
    schedules     how the learning rate moves
    fitting       [keras] epochs, early stopping, resuming; with checkpoints, progress, interrupting
    range_test    [keras] the loss under a growing rate
    validating    [scipy] k-fold cross-validation
    tuning        [optuna] search, shared by processes; with studies, points, parameters
    evaluating    [scikit-learn] what the test set says
    summary       [matplotlib] the run's folder
    run           train(): calls them
    reports       what train() returns
    commands      `edgeport train`

``article`` is apart: the network of the article behind this project, and its training.
"""
