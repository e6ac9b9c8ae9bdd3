"""Measurements and studies behind the numbers in the README."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['bench', 'studies'])
