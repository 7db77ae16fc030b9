"""Asset source: a folder or a zip of videos and animations, with an optional table of labels."""

from fieldforge.preparation.clips.moving_pictures import ENDINGS
from fieldforge.preparation.images.picture_folder import PictureFolder


class ClipFolder(PictureFolder):
    """An asset source over all videos and animations below `path`; captions and classes as those of pictures."""

    endings = ENDINGS
