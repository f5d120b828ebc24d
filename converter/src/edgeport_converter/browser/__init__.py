"""A web page that runs an artifact in the browser: the command `edgeport page`.

Modules:

    command          the command and its options
    folder           writing the page's folder in one step
    onnxruntime_web  the engine for browsers: from npm or a folder, with digests checked

The folder ``page`` beside them is the page itself, which is copied as it is: HTML, CSS and one ES
module for each job. ``app/main.mjs`` begins, and ``app/panes`` holds one way to give an input each.

The page does in JavaScript what ``edgeport`` does on a device: it checks the seal, reads the card,
runs the golden samples and refuses inputs that it would have to change.
"""
