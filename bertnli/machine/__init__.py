"""This machine: processor, disk, signals, GPU libraries."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['cuda', 'disk', 'signals', 'tuning'])
