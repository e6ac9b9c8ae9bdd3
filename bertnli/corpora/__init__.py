"""Corpora on disk and on the network: downloads, archives, file formats, Treebank words."""

import lazy_loader

_FILES = ['archives', 'downloads', 'files', 'pairs', 'prose', 'rows', 'treebank']
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, _FILES)
