"""What a trained network does: reports, baselines, a look inside."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['baselines', 'explain', 'inside', 'report'])
