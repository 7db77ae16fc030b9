"""What frozen encoders compute and store ahead of a training, against sums on paper."""

from torch import nn

from fieldforge.conditioning.image_encoder import GridEncoder
from fieldforge.conditioning.image_source import ImageSource
from fieldforge.data.tar_members import stored_bytes
from fieldforge.errors import UserError
from fieldforge.planning.network_work import features_plan
from fieldforge.stages.embedding_work import embedding_of
from fieldforge.stages.work import Sizes

ROWS, LIGHTS = 3, 2


def source(network=lambda: nn.Conv2d(3, 4, 4, stride=4)) -> ImageSource:
    """Pictures of 8 × 8 pixels through a convolution: 2 × 2 cells of 4 numbers."""
    encoder = GridEncoder(network, dict, size=8, width=4, grid=2, mean=(0, 0, 0), std=(1, 1, 1))
    return ImageSource(encoder, width=4, lights=LIGHTS)


def test_members_have_headers_and_whole_blocks():
    assert stored_bytes(1, 512, 513) == 512 * (2 + 2 + 3)


def test_every_view_of_a_sample_goes_through_the_encoder():
    plan = features_plan(embedding_of("views", source(), Sizes(rows=ROWS)), samples=10, read=None)
    assert plan.operations == ROWS * LIGHTS * 2 * (2 * 2 * 4) * (3 * 4 * 4)
    assert (plan.name, plan.samples, plan.batch_size) == ("features of views", 10, 1)
    vectors, tokens = 128 + 2 * ROWS * LIGHTS * 4, 128 + 2 * ROWS * LIGHTS * 4 * 4
    assert plan.written == stored_bytes(512, vectors, tokens)


def test_an_encoder_that_is_not_here_is_not_counted():
    def network() -> nn.Module:
        raise UserError("the encoder is missing")

    assert features_plan(embedding_of("views", source(network), Sizes(rows=ROWS)), samples=10, read=None) is None
