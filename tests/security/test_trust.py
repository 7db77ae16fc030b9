"""A stored configuration names a plug-in's classes only where the user trusts that plug-in."""

import pytest
from omegaconf import OmegaConf

from fieldforge.configuration.build import build
from fieldforge.configuration.trust import trusted_by, trusting
from fieldforge.errors import UserError

BLOCK = {"field": {"_target_": f"{__name__}.Thing"}}


class Thing:
    pass


def function() -> None:
    pytest.fail("a function of a plug-in ran")


def test_trust_is_typed_and_ends_with_the_command() -> None:
    config = OmegaConf.create(BLOCK)
    with pytest.raises(UserError, match="trust="):
        build(config, "field", trusted=False)
    with trusting([__name__]):
        assert isinstance(build(config, "field", trusted=False), Thing)
    with pytest.raises(UserError, match="trust="):
        build(config, "field", trusted=False)


@pytest.mark.parametrize("target", ["os.system", "torch.load", f"{__name__}.function", "subprocess.Popen"])
def test_trust_of_one_package_is_of_its_classes_alone(target) -> None:
    config = OmegaConf.create({"field": {"_target_": target}})
    with trusting([__name__]), pytest.raises(UserError, match="may not name it"):
        build(config, "field", trusted=False)


def test_a_training_trusts_the_modules_that_its_own_blocks_name() -> None:
    config = OmegaConf.create({"domain": {"_target_": "mine.sound.Domain"}, "autoencoder": {"_target_": "torch.load"}})
    assert trusted_by(config) == {"mine.sound"}


@pytest.mark.parametrize("name", ["os", "torch", "fieldforge", "subprocess"])
def test_a_package_in_which_a_name_may_be_anything_is_never_trusted(name) -> None:
    with pytest.raises(UserError, match=f"trust={name} would let a checkpoint run anything"):
        trusted_by(OmegaConf.create({"trust": name}))


def test_trust_is_one_name_or_a_list() -> None:
    assert trusted_by(OmegaConf.create({"trust": None})) == frozenset()
    assert trusted_by(OmegaConf.create({"trust": ["mine.a", "other"]})) == {"mine.a", "other"}
    with pytest.raises(UserError, match=r"trust=\.\./x must be the name of a package"):
        trusted_by(OmegaConf.create({"trust": "../x"}))
