"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), as the paper has it."""

__version__ = "0.1.0.dev0"
