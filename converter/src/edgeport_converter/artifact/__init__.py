"""The last stage: card, golden samples and seal into the file, which is written in one step.

card            what the stages found, as a card; graph and card as a file
golden_samples  which samples a device runs, what they may be off by, and what they tell
stamping        the seal, and writing the file
"""
