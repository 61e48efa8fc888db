"""Captions of an export: written after it, in several passes, and applied touching no image.

store      captions.sqlite: samples, sources, captions
text       what a caption may hold
"""
