"""Looking at images, probabilities and labels in a page of Neuroglancer, from the local disk."""

from paper_unet.view.config import ViewConfig
from paper_unet.view.page import Page

__all__ = ["Page", "ViewConfig"]
