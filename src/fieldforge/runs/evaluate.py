"""Body of evaluate.py: reconstructions of an autoencoder, shapes of a diffusion model, embeddings of a prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.configuration.values import check_finite, check_keys, number, whole_number
from fieldforge.errors import UserError
from fieldforge.evaluation.prior_embeddings import evaluate_prior
from fieldforge.evaluation.prompt_following import evaluate_diffusion
from fieldforge.evaluation.reconstructions import evaluate_autoencoder
from fieldforge.ranges import GridCells, Pixels
from fieldforge.stages.ema_length import of_length
from fieldforge.stages.locate import find_model, label_of
from fieldforge.stages.untrained import warn_if_untrained
from fieldforge.storage.files import MACHINE, make_folder, writing

BY_STAGE = {"autoencoder": evaluate_autoencoder, "diffusion": evaluate_diffusion, "prior": evaluate_prior}

POSITIVE = {
    "reconstruction": ("resolution", "picture_size"),
    "prompts": ("count", "resolution", "picture_size", "batch_size"),
    "images": ("resolution", "pictures", "picture_size", "batch_size"),
    "prior": ("pictures", "picture_size"),
}
"""Block → its whole numbers of at least 1."""
POSITIVE_OR_NULL = {"prompts": ("steps",), "images": ("icons", "heldout", "steps"), "prior": ("steps",)}
NUMBERS = {
    "prompts": ("judged_guidance",),
    "images": ("guidance",),
    "prior": ("guidance",),
}
SEEDS = ("prompts.seeds", "prior.seeds")


def run_evaluation(config: DictConfig) -> None:
    """Evaluate the run that `config.run` means by what it is. UserError for a setting that will not do."""
    check_settings(config)
    model, stage = find_model(config.run, config.output_dir, *BY_STAGE)
    check_assets(config, stage)
    warn_if_untrained(label_of(model), model.parent)
    model = of_length(model, config.ema_length)
    folder = make_folder(model.parent / "evaluation", "run")
    with writing(folder, MACHINE):
        BY_STAGE[stage](model, config)


def check_settings(config: DictConfig) -> None:
    """UserError for the first setting that is of the wrong kind, in the blocks of all stages."""
    check_finite(config)
    check_keys(config, {"ema_length": float | None, "split": str})
    for key in paths(POSITIVE):
        whole_number(config, key)
    check_keys(config, {key: GridCells for key in paths(POSITIVE) if key.endswith(".resolution")})
    check_keys(config, {key: Pixels for key in paths(POSITIVE) if key.endswith("picture_size")})
    for key in ("limit", *paths(POSITIVE_OR_NULL)):
        if OmegaConf.select(config, key) is not None:
            whole_number(config, key)
    whole_number(config, "reconstruction.pictures", least=0)  # 0 = no sheet
    for key in paths(NUMBERS):
        number(config, key)
    for key in SEEDS:
        check_each(config, key, lambda config, item: whole_number(config, item, least=0))
    check_each(config, "prompts.guidance", number)
    settings = config.prompts
    if settings.judged_guidance not in settings.guidance:
        raise UserError(
            f"prompts.judged_guidance={settings.judged_guidance} is not one of prompts.guidance={settings.guidance}: "
            "give one of these, or add it to them"
        )


def paths(table: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The keys of a table of blocks, each with its block in front."""
    return [f"{block}.{name}" for block, names in table.items() for name in names]


def check_each(config: DictConfig, key: str, check: Callable[[DictConfig, str], float]) -> None:
    """UserError unless `key` is a list with something in it, each value once and as `check` wants it."""
    values = OmegaConf.select(config, key)
    if not isinstance(values, ListConfig) or not values:
        raise UserError(f"config key {key} = {values!r} must be a list with something in it: write {key}=[1,3]")
    found = [check(config, f"{key}[{place}]") for place in range(len(values))]
    if len(set(found)) < len(found):  # columns of a sheet are told apart by these
        raise UserError(f"config key {key} = {values} has a value twice: give each once")


def check_assets(config: DictConfig, stage: str) -> None:
    """UserError for a choice of assets where it would change nothing: a diffusion model is not measured by split."""
    if stage == "diffusion":
        for key, usual, advice in (
            ("split", "heldout", "prompts are judged by the training split, pictures are of the held-out one"),
            ("limit", None, "prompts.count=, images.icons= and images.heldout= say how many"),
        ):
            if config[key] != usual:
                raise UserError(
                    f"{key}={config[key]} is for autoencoders and priors, and this run is a diffusion model: "
                    f"leave it out; {advice}"
                )
