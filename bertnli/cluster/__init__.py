"""Many processes and machines that train one network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['launch', 'managers', 'worker'])
