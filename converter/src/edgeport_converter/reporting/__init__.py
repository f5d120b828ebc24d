"""The report of an artifact: one HTML file that shows the evidence, the verdict first.

    from edgeport_converter.reporting.files import from_file
    from edgeport_converter.reporting.rendering import write_report

    write_report(from_file("model.onnx", data="test.npz"), "report.html")

``convert(report=)`` knows the most; `edgeport report` has the file, and data and the Keras model
where they are given. What is not there is a sentence with the way to get it, never an empty chart.

activations  what enters each quantizer of an int8 graph, beside the range of its codes
charts       matplotlib's pictures of the figures, one function a chart
commands     the command `edgeport report`
comparison   the answers of several forms of one model on the same samples, in one pass
conversions  from a conversion to all that its report shows
files        from an artifact's file to all that its report shows
measuring    what is measured on this machine: golden samples, time, its CPU
page         where the page goes, and whether what draws it is installed
pictures     one sample as a person would look at it
records      all that a report shows, as plain data for JSON
remaking     the command that makes the same artifact again
rendering    from the data to one HTML file
sections     the parts of a report that conversions and files have in common
words        numbers and units for people

``templates/`` holds the page. Names of classes, columns and layers come from users: the template
escapes every value, and charts write text as text.
"""
