"""Plain numbers in, a figure out."""

import lazy_loader

_FILES = ['answers', 'browse', 'curves', 'inside', 'playground', 'speed', 'style']
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, _FILES)
