"""The published record can be read, agrees with itself, and a broken one is refused."""

import shutil

import pytest
import yaml

from flexlib import config
from flexlib.errors import FlexError
from flexlib.study import bases, language_groups, paper, plans, sweep, tuning


def test_published_figures_name_a_reference_and_a_benchmark_of_known_size():
    frame = paper.published()
    sizes = {"HumanEval": 164, "MultiPL-E Java": 158}
    known = frame[frame["n"].notna()]
    assert (known["n"] == known["benchmark"].map(sizes)).all()
    assert frame["value"].between(0, 100).all() and frame.index.is_unique
    bib = (paper.DATA.parent / "book" / "references.bib").read_text()
    sources = set(frame["source"]) | set(paper.table("context")["source"]) - {""}
    assert [s for s in sources if f"{{{s}," not in bib] == []


def test_printed_rates_that_no_count_gives():
    # 54 of 158 and 63 of 164 fit; 40.1 is no k/164, and 42.1 no k/158 but 69/164 and 665/1580.
    assert paper.as_counts(34.2, 158) == [54] and paper.as_counts(38.4, 164) == [63]
    assert paper.as_counts(40.1, 164) == [] and paper.as_counts(42.1, 158) == []
    assert paper.as_counts(42.1, 164) == [69] and paper.as_counts(42.1, 1580) == [665]


def test_as_counts_inverts_rounding():
    for n in (7, 158, 164):
        for k in range(n + 1):
            assert k in paper.as_counts(round(100 * k / n, 1), n)


def test_ten_configurations_are_run_and_fifteen_decodings_listed():
    configurations = paper.table("fourier_configurations")
    assert (configurations["returned"] == "yes").sum() == paper.quantity("flex-adapters") == 10
    assert len(paper.table("decodings")) == 15


def test_missing_tables_and_figures_are_refused(tmp_path):
    with pytest.raises(FlexError, match="no table"):
        paper.published(tmp_path)
    with pytest.raises(FlexError, match="no registration"):
        paper.claims(data=tmp_path)
    with pytest.raises(FlexError, match="no figure 'x'"):
        paper.quantity("x")


def test_registered_claims():
    claims = paper.claims()
    assert {"C1", "C2a-steps", "C2b", "C3-lora", "C3-base", "L1", "L2"} <= set(claims.index)
    lora = claims.loc[["L1", "L2"]]
    assert (lora["family"] == "lora").all() and (lora["minimum_n"] >= 5).all()
    assert lora["direction"].tolist() == ["greater", "two-sided"]
    assert set(claims[claims["family"] == "lora"].index) == {"L1", "L2"}


def test_superseded_claims_are_kept_with_what_took_their_place():
    current, old = paper.claims(), paper.claims(superseded=True)
    assert {"C2a", "C3"} <= set(old.index) and not set(old.index) & set(current.index)
    assert set(old["superseded_by"]) <= set(current.index) and (old["reason"] != "").all()
    # What took the place of a tested claim is no prediction.
    assert current.loc[old["superseded_by"], "after_runs"].all()
    same = ["treatment", "control", "benchmark", "metric", "direction", "smallest_effect"]
    assert (old.loc["C3", same] == current.loc["C3-lora", same]).all()
    assert (current["registered"] >= old["registered"].min()).all()


def test_claims_of_another_profile_stand_apart():
    small = paper.claims("small")
    assert not set(small.index) & set(paper.claims().index)
    assert (small["profile"] == "small").all()
    assert {"S-C3-lora", "S-C3-base", "S-units-java", "S-merged"} <= set(small.index)
    published = paper.published()
    for pair in small["published"]:
        assert len(pair) in (0, 2) and set(pair) <= set(published.index)


def test_every_registered_arm_has_a_label_that_its_runs_have():
    """By it the store is asked: a claim of another can never be decided."""
    arms = {  # that a plan gives runs to under a name with this ending
        sweep.AT_BEST: {sweep.plan()["plain"], *sweep.plan()["penalties"]},
        bases.OVER: set(plans.plan(bases.PLAN)["arms"]),
        tuning.TUNED: set(tuning.plans()["small"]["trials"]),
    }
    claims = [c for c in paper.registration()["claims"] if not c["superseded_by"]]
    registered = {(c["profile"], c[side]) for c in claims for side in ("treatment", "control")}
    assert {profile for profile, _ in registered} == {"nano", "small"}
    for profile, label in registered:
        for ending, of_plan in arms.items():
            if label.endswith(ending):
                label = label.removesuffix(ending)
                assert label in of_plan
        arm, *rest = label.split(" ")
        overrides = [word for word in rest if "=" in word]
        decodings = [word for word in rest if "=" not in word]
        assert len(decodings) <= 1 and set(decodings) <= set(config.decodings()), label
        decoding = decodings[0] if decodings else None
        wanted = config.load(profile, arm, 1, overrides=overrides, decoding=decoding)
        assert wanted.label == label


def test_claims_on_a_decoding_name_runs_and_benchmarks_of_it():
    small = paper.claims("small")
    seen = set()
    for claim in small[small["treatment"].str.contains(" ")].itertuples():
        for arm in (claim.treatment, claim.control):
            name, decoding = arm.split(" ")
            wanted = config.load("small", name, 1, decoding=decoding)
            assert wanted.label == arm
            if claim.metric == "pass@1" and claim.benchmark != language_groups.ALL:
                assert claim.benchmark in {b.name for b in wanted.benchmarks}
            seen.add(decoding)
    assert seen == {"six-languages", "mbpp-test"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"published": "flex"}, "published must be of type list"),
        ({"direction": "up"}, "direction must be one of"),
        ({"alpha": 1.5}, "0 < alpha < 1"),
        ({"minimum_n": "five"}, "minimum_n must be of type int"),
        ({"minimum_n": 1}, "minimum_n > 1"),
        ({"threshold": 1}, "unknown fields: threshold"),
        ({"id": "C2a"}, "not unique"),
        ({"superseded_by": "C9", "reason": "x"}, "C1 is superseded by an id that is not there"),
        ({"superseded_by": "C1", "reason": "x"}, "C1 is superseded by an id that is not there"),
        ({"superseded_by": "C2b"}, "superseded_by and reason go together"),
        ({"after_runs": 1}, "after_runs must be of type bool"),
    ],
)
def test_a_malformed_registration_is_refused(tmp_path, change, message):
    shutil.copy(paper.DATA / "claims.yml", tmp_path)
    content = yaml.safe_load((tmp_path / "claims.yml").read_text())
    content["claims"][0] |= change
    (tmp_path / "claims.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(FlexError, match=message):
        paper.claims(data=tmp_path)
