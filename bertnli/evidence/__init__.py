"""Measurements of this library against the chapter."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['bench'])
