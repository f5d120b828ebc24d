"""The last stage: the card, golden samples and seal, and an atomic replace.

card      from what the stages found to the card, and from graph and card to the file
macs      how much a graph computes: its multiply-accumulates for one sample
stamping  the last stage: card, golden samples and seal into the file, then an atomic replace
"""
