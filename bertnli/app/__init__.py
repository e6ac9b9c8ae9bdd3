"""The command `bertnli` and its jobs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['cli', 'jobs', 'process'])
