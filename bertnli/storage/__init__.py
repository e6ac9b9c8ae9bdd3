"""Models and the states of trainings on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['checkpoints', 'd2l_weights', 'states'])
