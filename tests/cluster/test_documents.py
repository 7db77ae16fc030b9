"""What the documentation shows is what the tests run."""

from tests.cluster.training import ROOT


def test_the_script_is_shown_as_it_is() -> None:
    assert (ROOT / "docs/slurm/train.sbatch").read_text() in (ROOT / "docs/clusters.md").read_text()
