"""scripts/recalibrate.py: a new bundle beside the old one, with what was asked for."""

from __future__ import annotations

from sqp.quality import Bundle


def test_another_quantile_and_level(script, trained, record_set, tmp_path, capsys):
    old, new = trained / "bundle", tmp_path / "bundle"
    argv = [str(old), str(new), "--records", str(record_set), "--cache", str(trained / "cache"), "--alpha", "0.2"]
    script("recalibrate").main([*argv, "--ood_quantile", "0.9"])
    made = Bundle.load(new)
    assert (made.ood.quantile, made.conformal.alpha) == (0.9, 0.2)
    assert "quantile of the distances: 0.98 -> 0.9" in capsys.readouterr().out
