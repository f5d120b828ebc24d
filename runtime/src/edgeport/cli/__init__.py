"""The `edgeport` command, also `python -m edgeport`.

bench     how fast an artifact is on this device: figures for ``edgeport bench``
images    one image file as an input: the pixels as they are, or a refusal
main      the `edgeport` command: info, verify, predict, bench, sign, warm, tune; others by
entry point
printing  what the command line prints for people: cards, answers, classes, a progress bar
reading   data on disk for the command line: from files to samples
trial     what bench, tune and warm run a model on: the user's data, or made-up values
tune      measures on the device itself which settings answer soonest: `edgeport tune`
writing   answers to files for the command line: npy, npz, csv, json lines, whole or not at
all
"""
