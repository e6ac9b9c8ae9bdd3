"""What a network may know before its first step: counted vectors, aligned heads."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['alignment', 'counting'])
