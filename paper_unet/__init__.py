"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), as the paper has it."""

import sys
from types import ModuleType

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)  # of __init__.pyi


class _Face(ModuleType):  # keeps the function weight_map before the module of its name
    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
