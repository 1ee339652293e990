"""Stacks of images on disk: open, read and write them, and scale their values.

Image files are read and written only here; what locks, syncs and names a full disk is in
`paper_unet.system.files`, for whatever else is written. A stack is always (Z, Y, X), in colour
(Z, C, Y, X); a single image is a stack of one slice.
What a user can put right raises `paper_unet.errors.InputError`.
"""

from paper_unet.images.grey_count import GreyCount, count_section, describe_section, scale_of
from paper_unet.images.grey_values import to_unit_range
from paper_unet.images.inside import absolute, file_of, local_path, place_of
from paper_unet.images.outputs import create_output
from paper_unet.images.outputs.kinds import TIFF_SUFFIXES
from paper_unet.images.outputs.labels_folder import labels_kept, make_labels
from paper_unet.images.outputs.output import Output
from paper_unet.images.outputs.stored import Stored, stored_files
from paper_unet.images.outputs.tasks import Task
from paper_unet.images.outputs.tiff_writer import StackWriter, create_tiff
from paper_unet.images.percentiles import PercentileRange, percentile_range
from paper_unet.images.pyramid import Chunk
from paper_unet.images.readers import needed_choices, open_stack, pixels_of, read_stack
from paper_unet.images.readers.levels import level_paths
from paper_unet.images.readers.probabilities import open_probabilities
from paper_unet.images.readers.unfinished import open_unfinished, unfinished_of
from paper_unet.images.stack import PixelSize, Stack, Window, parse_slices

__all__ = [
    "TIFF_SUFFIXES",
    "Chunk",
    "GreyCount",
    "Output",
    "PercentileRange",
    "PixelSize",
    "Stack",
    "StackWriter",
    "Stored",
    "Task",
    "Window",
    "absolute",
    "count_section",
    "create_output",
    "create_tiff",
    "describe_section",
    "file_of",
    "labels_kept",
    "level_paths",
    "local_path",
    "make_labels",
    "needed_choices",
    "open_probabilities",
    "open_stack",
    "open_unfinished",
    "parse_slices",
    "percentile_range",
    "pixels_of",
    "place_of",
    "read_stack",
    "scale_of",
    "stored_files",
    "to_unit_range",
    "unfinished_of",
]
