"""Millions of rows through one artifact: `edgeport score`, loaded by that command alone.

arrays    rows of npy and npz files
cluster   the engine of many machines: Ray Data with one actor for each CPU
command   what `edgeport score` does, from its options to its last line
files     addresses to files: paths, patterns, folders, fsspec; their digests
inputs    the kinds of files: which module splits and reads each
job       the records that go between the modules, and between processes
local     the engine of one machine: a process for each CPU, one thread each
manifest  what was begun and which parts are done; other data or models are refused
parquet   rows of Parquet files
parts     numbered parts, by the files' sizes alone
pictures  image files, and pictures in columns of Parquet
progress  rows a second and time left, on stderr
scorer    one part from its rows to its files; every engine runs this
texts     rows of csv and json lines
verify    proves that each row is there once
writer    scores as Parquet and rejected rows as json lines, whole or not at all

Needs pyarrow, fsspec and cryptography, the extra ``edgeport[score]``; Ray is ``edgeport[ray]``.

A part is done when its record is there: its files are renamed into place first, its record last.
What a killed run leaves is a part without a record, and the next run does that part again. Answers
do not depend on the engine, the number of workers, or how often a run was interrupted: parts are
split by the input alone, and each is run by one thread in batches of one size.
"""
