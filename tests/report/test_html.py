"""The policy of a page lets its own script alone run."""

from __future__ import annotations

import base64
import hashlib
import re

from sqp.report.html import document


def test_the_policy_has_the_hash_of_the_one_script_and_of_no_other() -> None:
    text = document("<t>", "p { color: red }", "<p>one</p><script>alert(1)</script>", "let a = 1 < 2;")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert scripts[0] == "alert(1)" and hashes[0] not in policy
    assert "let a = 1 < 2;" in scripts[1] and f"script-src 'sha256-{hashes[1]}'" in policy
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_without_a_script_none_may_run() -> None:
    assert "script-src 'none'" in document("t", "", "<p>one</p>")
