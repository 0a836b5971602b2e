"""Whoever segments an image for comparison: a promptable segmenter, a fitted network, and what references show."""
