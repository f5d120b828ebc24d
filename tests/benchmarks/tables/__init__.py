"""Stored runs as tables in Markdown; ``figures.py`` above writes them into the READMEs.

bundles       what a device installs, and how soon it answers
calls         what a whole call costs beside code by hand
finetune      what training under quantization brings back
headline      the root README's five figures
layer_times   graphs composed from layer times beside the search's
passes        what each rewriting of the graph is worth
quantization  what int8 keeps
training      what recipes and searches reach
sections      the marked sections of a README
"""
