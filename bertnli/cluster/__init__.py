"""Many processes and machines that train one network."""

import lazy_loader

_FILES = ['launch', 'managers', 'scaling', 'stopwatch', 'worker']
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, _FILES)
