"""Failures inside the shared comparisons are explained as those of the tests themselves are."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.images.compare")
