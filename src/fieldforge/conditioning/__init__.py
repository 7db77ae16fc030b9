"""Conditioning: class, text, image."""

from fieldforge.conditioning.aligned import AlignedSource, FirstFrameSource
from fieldforge.conditioning.class_label import ClassSource
from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.conditioner import Conditioner, compose
from fieldforge.conditioning.efficientnet import efficientnet_lite0
from fieldforge.conditioning.image_encoder import ClipImageEncoder, GridEncoder, ImageEncoder
from fieldforge.conditioning.image_source import ImageSource, SeveralImagesSource
from fieldforge.conditioning.number_source import NumbersSource
from fieldforge.conditioning.open_clip import OpenClipImageEncoder, OpenClipTextEncoder
from fieldforge.conditioning.point_source import PointsSource
from fieldforge.conditioning.source import Source
from fieldforge.conditioning.text_encoder import ClipTextEncoder, SentenceEncoder, TextEncoder
from fieldforge.conditioning.text_source import TextSource

__all__ = [
    "AlignedSource",
    "ClassSource",
    "ClipImageEncoder",
    "ClipTextEncoder",
    "Condition",
    "Conditioner",
    "Features",
    "FirstFrameSource",
    "GridEncoder",
    "ImageEncoder",
    "ImageSource",
    "NumbersSource",
    "OpenClipImageEncoder",
    "OpenClipTextEncoder",
    "PointsSource",
    "SentenceEncoder",
    "SeveralImagesSource",
    "Source",
    "TextEncoder",
    "TextSource",
    "compose",
    "efficientnet_lite0",
]
