"""What steers the shape: class, text, image."""

from fieldforge.conditioning.class_label import ClassSource
from fieldforge.conditioning.condition import Condition, Features
from fieldforge.conditioning.conditioner import Conditioner, compose
from fieldforge.conditioning.source import Source
from fieldforge.conditioning.text import TextSource
from fieldforge.conditioning.text_encoder import SentenceEncoder

__all__ = ["ClassSource", "Condition", "Conditioner", "Features", "SentenceEncoder", "Source", "TextSource", "compose"]
