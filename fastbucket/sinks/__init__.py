"""An export on its way to where it is kept: an object store, any file system of fsspec, the Hub.

Files go up whole, manifest.json last: as on a disk, its presence means that the export is complete.
"""

from .destination import is_url
from .pushing import Pushed, push
from .work import export, folder

__all__ = ["Pushed", "export", "folder", "is_url", "push"]
