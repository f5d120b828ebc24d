"""The last stage: card, golden samples and seal into the file, which is written in one step.

card      what the stages found, as a card; graph and card as a file
macs      the multiply-accumulates of a graph for one sample
stamping  golden samples, the seal, and writing the file
"""
