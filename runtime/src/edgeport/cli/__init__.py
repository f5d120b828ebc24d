"""The `edgeport` command, also `python -m edgeport`.

bench     how fast an artifact is on this device: `edgeport bench`
images    one image file as an input
main      the command's parser, its exit codes, and info, verify, predict, bench, sign
printing  what is printed for people: cards, answers, classes, a progress bar
reading   data files as samples: npy, npz, csv, json lines, images
trial     what bench, tune and warm run on: the user's data, or made-up values
tune      which settings answer soonest on this device: `edgeport tune` and `warm`
writing   answers as files: npy, npz, csv, json lines, whole or not at all
"""
