"""All kinds of shards, by the name that a manifest gives."""

from fieldforge.data.clip_schema import CLIP
from fieldforge.data.image_foreign import FOREIGN_IMAGE
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.latent_schema import EMBEDDING, LATENT
from fieldforge.data.schema import Schema
from fieldforge.data.shape_schema import SAMPLE

SCHEMAS: dict[str, Schema] = {}


def register(schema: Schema) -> Schema:
    """Makes a kind of shard known to manifests; a module outside of the package calls it where it defines its schema.

    ValueError if another schema has that name.
    """
    if SCHEMAS.setdefault(schema.name, schema) != schema:
        raise ValueError(f"there is another schema '{schema.name}'; give this one a name of its own")
    return schema


for known in (SAMPLE, IMAGE, FOREIGN_IMAGE, CLIP, LATENT, EMBEDDING):
    register(known)
