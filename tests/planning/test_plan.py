"""From a configuration to a plan on paper."""

import pytest
from tests.planning.hardware import cluster, encoding, stage
from tests.planning.train_and_measure import composed
from tests.runs.conftest import SEARCH

from fieldforge.configuration.build import build
from fieldforge.data.tar_members import stored_bytes
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.planning import plan
from fieldforge.planning.estimate import DataSide, Plan
from fieldforge.planning.fake_modules import without_values
from fieldforge.planning.plan import make_plan, print_plan
from fieldforge.planning.report import text
from fieldforge.stages.autoencoder_stage import AutoencoderStage
from fieldforge.stages.denoiser_parts import build_module
from fieldforge.stages.training_run import seeded


def show(overrides: list[str]) -> None:
    config = composed(overrides)
    print_plan(config, build(config, "plan"))


def test_time_is_operations_over_speed():
    assert stage().step_seconds(cluster()) == pytest.approx(0.02)
    assert stage().samples_a_day(cluster()) == pytest.approx(16 / 0.02 * 86400)
    assert stage().days(cluster()) == pytest.approx(0.1)
    assert stage(max_minutes=72).days(cluster()) == pytest.approx(0.05)
    assert stage(max_minutes=72, min_steps=324_000).days(cluster()) == pytest.approx(0.075)  # the minutes wait
    assert stage(max_minutes=144 * 2, min_steps=324_000).days(cluster()) == pytest.approx(0.1)
    assert stage(accumulate=3).step_seconds(cluster()) == pytest.approx(0.06)


def test_all_stages_add_up_with_the_latents_of_all_devices():
    latents = encoding(samples=864_000)  # a day at 1e10 operations a second of all eight
    assert Plan("name", cluster(), (stage(), latents)).days == pytest.approx(1.1)
    unknown = Plan("name", cluster(), (stage(), encoding(samples=None)))
    assert unknown.days is None
    assert unknown.device_hours is None
    assert "in all            2 h 24 min, 19.2 device hours, without latents: not known" in text(unknown)


def test_the_price_is_that_of_all_device_hours():
    plan = Plan("name", cluster(price_an_hour=2.5), (stage(),))
    assert plan.device_hours == pytest.approx(8 * 2.4)
    assert plan.price == pytest.approx(8 * 2.4 * 2.5)
    assert "2 h 24 min, 19.2 device hours, 48 at 2.5 an hour" in text(plan)
    free = Plan("name", cluster(), (stage(),))
    assert free.price is None
    assert text(free).count("2 h 24 min, 19.2 device hours\n") == 1


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"data": DataSide(15, 1000, 64, 2)}, "15 shards for 16 readers"),
        ({"data": DataSide(64, 1000, 4, 2)}, "mixing.slots=4 for 8 ranks"),
        ({"data": DataSide(64, 1000, 12, 2)}, "no multiple of the 8 ranks"),
        ({"batch_size_setting": 10}, "batch_size=10 is no multiple of the 8 parts"),
    ],
)
def test_what_will_go_wrong_is_said(changed, warning):
    assert stage().warnings(cluster()) == []
    [message] = stage(**changed).warnings(cluster())
    assert warning in message
    assert warning in text(Plan("name", cluster(), (stage(**changed),)))


def test_the_table_names_every_figure():
    table = text(Plan("name", cluster(), (stage(),)))
    for words in ("2 nodes × 4 GPUs", "DDP", "FSDP", "activations", "20 ms a step", "64 for 8 ranks", "2 h 24 min"):
        assert words in table


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("plan.show=maybe", "plan.show = 'maybe'"),
        ("plan.utilisation=2", "plan.utilisation = 2 "),
        ("plan.bandwidth=0", "plan.bandwidth = 0 "),
        ("plan.launch_seconds=-1", "plan.launch_seconds = -1 "),
        ("plan.price_an_hour=-1", "plan.price_an_hour = -1 "),
        ("trainer.precision=64-true", "precision 64-true is not planned"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed"),
        ("trainer.devices=auto", "trainer.devices=auto"),
        ("stages=[distillation]", "plan the teacher"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(override, sentence):
    with pytest.raises(UserError, match=sentence.replace("[", r"\[")) as refusal:
        show(["experiment=shape_latent", "plan.show=true", override])
    assert "\n" not in str(refusal.value)


def test_a_classifier_is_planned_where_its_data_is_not():
    config = composed(["experiment=latent_classifier", "data.root=/nowhere", "autoencoder=shap_e_small",
                       "stages=[autoencoder,latents,classifier]", "trainer.devices=8",
                       "training.autoencoder.budget={max_steps:2000,max_minutes:null}"])  # fmt: skip
    plan = make_plan(config)
    assert [part.name for part in plan.stages] == ["autoencoder", "latents", "classifier"]
    assert "the data is not here" in text(plan)
    autoencoder, latents, classifier = plan.stages
    bill = {one.name: one.times for one in autoencoder.charges(plan.cluster)}
    assert bill.keys() == {"steps", "validation", "pictures", "checkpoints"}  # no statistics: how many is not known
    assert (bill["steps"], bill["validation"]) == (2000, 4)
    assert autoencoder.pauses.sheet.pictures == 4
    assert latents.batch_size == 8
    numbers = 128 + 4 * 192 * 64
    assert latents.written == classifier.data.sample_bytes == stored_bytes(512, numbers)


def test_what_is_frozen_has_no_gradients_and_no_state_of_the_optimizer():
    words = [
        SEARCH,
        "experiment=tiny",
        "data.root=/nowhere",
        "conditioner=none",
        "stages=[autoencoder,latents,diffusion]",
    ]
    diffusion = (
        make_plan(composed([*words, "adapter=lora", "adapter.rank=2", "adapter.layers=['*.to_qkv']"])).stages[-1].cost
    )
    assert diffusion.trained == 2 * (16 + 3 * 16)  # one block of width 16
    assert diffusion.gradients == 4 * diffusion.trained
    assert diffusion.optimizer < 9 * diffusion.trained < diffusion.parameters
    autoencoder = make_plan(composed([*words, "stages=[autoencoder]", "frozen=['encoder.*']"])).stages[0].cost
    assert autoencoder.trained == sum(autoencoder.parts.values()) - autoencoder.parts["autoencoder.encoder"]


def test_shap_e_scale_has_the_originals_sizes():
    config = composed(["experiment=shap_e_scale"])
    with without_values():
        autoencoder = AutoencoderStage(config).module().autoencoder
        assert autoencoder.latent_shape == LatentShape(1024, 1024)
        assert autoencoder.field.param_shapes == {f"weight_{i}": (256, 93 if i == 0 else 256) for i in range(4)}
        model = build_module(config, "diffusion", autoencoder.latent_shape, seeded(config, "conditioner")).model
        blocks = model.backbone.transformer.blocks
        assert len(blocks) == 24
        assert blocks[0].attention.to_out.in_features == 1024


def test_a_missing_gpu_is_named_first(capsys, monkeypatch):
    monkeypatch.setattr(plan.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(plan, "make_plan", lambda config: print("planned"))
    monkeypatch.setattr(plan, "text", str)
    show(["experiment=shape_latent", "plan.show=true"])
    first, _, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("Planned for GPUs; trainer.accelerator=cpu")
    assert second == "planned"
